"""The best n of many items: a heap whose root is the worst, of equals the higher index."""

import numpy as np

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled


@compiled
def sift_down(items_n: Ints, keys_n: Floats, count: int) -> None:
    """Restores the heap after its root was replaced: the root is the worst, of equals the higher index."""
    place = 0
    while True:
        worst, child = place, 2 * place + 1
        for other in (child, child + 1):
            if other < count and (
                keys_n[other] < keys_n[worst]
                or (keys_n[other] == keys_n[worst] and items_n[other] > items_n[worst])
            ):
                worst = other
        if worst == place:
            return
        items_n[place], items_n[worst] = items_n[worst], items_n[place]
        keys_n[place], keys_n[worst] = keys_n[worst], keys_n[place]
        place = worst


@compiled
def offer(items_n: Ints, keys_n: Floats, count: int, item: int, key: np.float32) -> int:
    """Puts an item into the heap of the best n if it is one of them; how many are in there then."""
    if count == len(items_n):
        if key < keys_n[0] or (key == keys_n[0] and item > items_n[0]):
            return count
        items_n[0], keys_n[0] = item, key
        sift_down(items_n, keys_n, count)
        return count
    place = count
    while place > 0:
        above = (place - 1) // 2
        better = keys_n[above] > key or (keys_n[above] == key and items_n[above] < item)
        if not better:
            break
        items_n[place], keys_n[place] = items_n[above], keys_n[above]
        place = above
    items_n[place], keys_n[place] = item, key
    return count + 1


@compiled
def unheap(items_n: Ints, keys_n: Floats, count: int) -> None:
    """A heap of `count` entries becomes a list, best first; what is behind it becomes item 0."""
    for left in range(count - 1, 0, -1):
        items_n[0], items_n[left] = items_n[left], items_n[0]
        keys_n[0], keys_n[left] = keys_n[left], keys_n[0]
        sift_down(items_n, keys_n, left)
    for place in range(count, len(items_n)):
        items_n[place], keys_n[place] = 0, -np.inf
