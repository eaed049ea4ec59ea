"""Which users' states do not hold any more."""

from array import array

from moerec.engine.item_news import UNKNOWN_LIMIT, ItemNews, hashes
from moerec.types import ItemId

A, B, C = (ItemId(name) for name in "abc")
NOBODY = array("i")


def test_an_item_that_came_concerns_who_had_met_it() -> None:
    news = ItemNews()
    before = news.number
    news.add([A], [])
    assert news.concerns(hashes([A, B]), NOBODY, before)
    assert not news.concerns(hashes([B]), NOBODY, before)
    assert not news.concerns(None, NOBODY, before)
    news.add([C], [])
    assert news.concerns(hashes([A, B]), NOBODY, before)


def test_old_news_are_none() -> None:
    news = ItemNews()
    news.add([A], [3])
    seen, met = array("i", [3]), news.number
    assert not news.concerns(hashes([B]), seen, met)
    assert not news.concerns(array("q"), seen, met)
    news.add([], [4])
    assert not news.concerns(hashes([B]), seen, met)
    assert not news.concerns(array("q"), seen, met)


def test_an_item_that_moved_concerns_who_has_seen_it_before() -> None:
    news = ItemNews()
    news.add([], [3, 5])
    met = news.number
    assert news.concerns(None, array("i", [1, 3]), 0)
    assert not news.concerns(None, array("i", [1, 2]), 0)
    assert not news.concerns(None, array("i", [1, 3]), met)
    news.add([], [3])
    assert news.concerns(None, array("i", [1, 3]), met)
    assert not news.concerns(None, array("i", [5]), met)


def test_of_many_unknown_items_any_may_have_come() -> None:
    many = hashes([ItemId(str(number)) for number in range(UNKNOWN_LIMIT + 1)])
    assert not many
    assert not hashes([A], many)
    assert len(hashes([A, B, A], hashes([C]))) == 3
    news = ItemNews()
    news.add([A], [])
    assert news.concerns(many, NOBODY, 0)


def test_nothing_is_no_news() -> None:
    news = ItemNews()
    news.add([], [])
    assert news.number == 0
