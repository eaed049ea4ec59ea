"""More events in one call than one lookup takes."""

from pathlib import Path

from moerec.store.appending import LOOKUP_CHUNK
from moerec.store.sql import open_event_store
from moerec.types import Event, ItemId, UserId

USERS = LOOKUP_CHUNK + 500


def test_a_call_of_several_lookups_numbers_users_and_table_and_knows_them_again(
    tmp_path: Path,
) -> None:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    calls = [
        Event(f"e{n}", UserId(f"u{n % USERS}"), ItemId("i1"), 1_700_000_000_000 + n)
        for n in range(2 * USERS)
    ]
    first = store.append(calls[:3])
    second = store.append(calls)
    store.close()
    assert [one.table_number for one in first] == [1, 2, 3]
    assert [one.table_number for one in second] == list(range(1, 2 * USERS + 1))
    assert [one.user_number for one in second] == [1] * USERS + [2] * USERS
    assert [one.duplicate for one in second] == [True] * 3 + [False] * (2 * USERS - 3)
