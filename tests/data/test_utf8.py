"""UTF-8 in chunks: a character may be cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from moerec.data.utf8 import Utf8Check


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode), st.integers(1, 7))
def test_chunks_find_the_same_first_fault_as_the_whole(data: bytes, size: int) -> None:
    try:
        data.decode()
        expected = None
    except UnicodeDecodeError as error:
        expected = error.start
    check = Utf8Check()
    found = None
    for start in range(0, len(data), size):
        place = check.feed(data[start : start + size])
        if place is not None:
            found = start + place
            break
    if expected is None:
        assert found is None
        assert check.complete
    elif found is not None:
        assert found == expected
    else:  # only an end inside a character is not seen before the end
        assert not check.complete


def test_after_the_first_fault_nothing_is_checked() -> None:
    check = Utf8Check()
    assert check.feed(b"ab\xff") == 2
    assert check.feed(b"\xff") is None
    assert check.broken_at == 2
    assert check.complete
