"""Ids differ, in a process and in those that it forks."""

import os

from moerec.api.ids import new_id


def test_ids_differ_and_grow() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert sorted(ids) == ids
    assert {len(each) for each in ids} == {32}


def test_a_forked_process_has_other_ids() -> None:
    """Two workers of one parent gave different events one id, and the second event was refused."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100).decode() != new_id()
    os.close(reader)
