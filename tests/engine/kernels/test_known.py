"""The table of the items that a list knows."""

import numpy as np
import pytest

from moerec.engine.kernels.known import room_for, slot_of


@pytest.mark.parametrize("stride", [1, 7, 1024, 4096])
def test_every_item_has_a_slot_of_its_own(stride: int) -> None:
    """Strides of the table's size among them: such items begin at few slots."""
    known = room_for(700)
    items = np.arange(1, 701) * stride
    for item in items:
        slot = slot_of(known.items_S, item)
        assert known.items_S[slot] == 0
        known.items_S[slot] = item
    assert [known.items_S[slot_of(known.items_S, item)] for item in items] == items.tolist()
    for stranger in items + 1_000_000_000:
        assert known.items_S[slot_of(known.items_S, stranger)] == 0


def test_half_of_the_room_stays_free() -> None:
    for items in (0, 1, 32, 33, 10_000):
        known = room_for(items)
        assert len(known.items_S) == len(known.chances_S) >= max(2 * items, 1)
        assert not known.items_S.any()
