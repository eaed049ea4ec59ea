"""Plain requests: what a first line says in its plainest words, and in any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.api.plain import of_line, of_url

USERS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_.~-]{1,8}", fullmatch=True),
    st.sampled_from(
        ["a" * 256, "a" * 257, "", "a%20b", "a/b", "a?b", "a b", "\u00e9", "a\r\nb", "\n"]
    ),
    st.text(max_size=4),
)
QUERIES = st.one_of(
    st.just(""),
    st.integers(0, 1200).map(lambda k: f"?k={k}"),
    st.sampled_from(
        ["?", "?k=", "?k=03", "?k=3&k=4", "?max_experts=3", "?k=3&max_experts=3", "#k"]
    ),
)


@given(user=USERS, query=QUERIES, rest=st.sampled_from([b"", b"\r\nHost: x\r\n\r\n"]))
def test_a_plain_line_says_what_its_target_says(user: str, query: str, rest: bytes) -> None:
    target = f"/v1/users/{user}/recommendations{query}".encode()
    line = b"GET " + target + b" HTTP/1.1"
    asked = of_line(line + rest, len(line))
    if asked is not None:
        assert asked == of_url(target)


@pytest.mark.parametrize(("query", "k"), [("", 10), ("?k=1", 1), ("?k=100", 100)])
def test_the_plainest_words_are_understood(query: str, k: int) -> None:
    line = f"GET /v1/users/u-1/recommendations{query} HTTP/1.1".encode()
    asked = of_line(line, len(line))
    assert asked is not None
    assert (asked.what.user_id, asked.what.k) == ("u-1", k)  # type: ignore[union-attr]


def test_other_lines_are_not() -> None:
    for line in (
        b"POST /v1/users/u/recommendations HTTP/1.1",
        b"GET /v1/users/u/recommendations HTTP/1.0",
    ):
        assert of_line(line, len(line)) is None
    assert of_line(b"GET /v1/users/u/recommendations HTTP/1.1", 10) is None
