"""Which column is which: named, guessed, missing, ambiguous."""

import pytest

from moerec.data.columns import ColumnNames, choose_columns, has_known_names, simplified
from moerec.errors import DataError


def roles(header: str, **names: str) -> dict[str, str]:
    columns = header.split(",")
    chosen = choose_columns(columns, ColumnNames(**names), "log.csv")
    return {role: columns[place] for role, place in chosen.items()}


@pytest.mark.parametrize(
    ("header", "user", "item", "time"),
    [
        ("user_id,item_id,timestamp", "user_id", "item_id", "timestamp"),
        ("userId,movieId,rating,timestamp", "userId", "movieId", "timestamp"),
        ("reviewerID,asin,overall,unixReviewTime", "reviewerID", "asin", "unixReviewTime"),
        ("user_id,parent_asin,asin,timestamp", "user_id", "asin", "timestamp"),
        ("User-ID,ISBN,Date", "User-ID", "ISBN", "Date"),
        ("visitorid,itemid,event,timestamp", "visitorid", "itemid", "timestamp"),
        ("session_id,product_id,created_at", "session_id", "product_id", "created_at"),
        ("session_id,user_id,track_id,ts", "user_id", "track_id", "ts"),
        ("user_id:token,item_id:token,ts:float", "user_id:token", "item_id:token", "ts:float"),
        ("time,video_id,user", "user", "video_id", "time"),
        ("user_id,item_id,item,date,timestamp", "user_id", "item_id", "timestamp"),
    ],
)  # fmt: skip
def test_usual_spellings_are_guessed(header: str, user: str, item: str, time: str) -> None:
    chosen = roles(header)
    assert (chosen["user"], chosen["item"], chosen["timestamp"]) == (user, item, time)


@pytest.mark.parametrize(
    ("extra", "event", "value"),
    [
        ("event_type", "event_type", None),
        ("behavior,rating", "behavior", "rating"),
        ("overall,action", "action", "overall"),
        ("watch_ratio", None, "watch_ratio"),
        ("color", None, None),
    ],
)
def test_event_and_value_are_guessed(extra: str, event: str | None, value: str | None) -> None:
    chosen = roles(f"user_id,item_id,timestamp,{extra}")
    assert (chosen.get("event"), chosen.get("value")) == (event, value)


def test_names_go_before_guesses() -> None:
    chosen = roles(
        "user_id,item_id,timestamp,buyer,thing,rating",
        user="buyer", item="thing", timestamp="none", value="none", event="user_id",
    )  # fmt: skip
    assert chosen == {"user": "buyer", "item": "thing", "event": "user_id"}


def test_an_order_column_counts_only_where_there_is_no_time() -> None:
    assert roles("user,movie,rating,pos")["place"] == "pos"
    assert "place" not in roles("user,movie,pos,timestamp")
    assert "place" not in roles("user,movie,pos", timestamp="none")


@pytest.mark.parametrize("role", ["user", "item", "timestamp"])
def test_a_missing_column_names_the_columns_and_the_option(role: str) -> None:
    header = [name for name in ("user_id", "item_id", "timestamp") if not name.startswith(role)]
    with pytest.raises(DataError) as caught:
        choose_columns([*header, "colour"], ColumnNames(), "log.csv")
    assert ", ".join([*header, "colour"]) in caught.value.message
    assert f"--{role}" in caught.value.remedy
    assert ("--timestamp none" in caught.value.remedy) == (role == "timestamp")


def test_a_named_column_that_is_absent_is_told_apart() -> None:
    with pytest.raises(DataError, match=r"no column 'buyer' for the user; .*: user_id, item_id"):
        roles("user_id,item_id,timestamp", user="buyer")


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("user_id,movie_id,product_id,timestamp", "item"),
        ("customer_id,member_id,item_id,timestamp", "user"),
        ("user_id,item_id,time,ts", "timestamp"),
        ("user_id,item_id,timestamp,stars,score", "value"),
        ("user_id,item_id,timestamp,action,interaction_type", "event"),
    ],
)
def test_an_ambiguous_guess_says_so(header: str, role: str) -> None:
    with pytest.raises(DataError, match="could both be") as caught:
        roles(header)
    assert f"--{role}" in caught.value.remedy


@pytest.mark.parametrize("names", [{}, {"item": "item_id"}])
def test_a_repeated_column_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(DataError, match="'item_id' for the item appears 2 times"):
        roles("user_id,item_id,item_id,timestamp", **names)


def test_a_wide_table_is_not_listed_whole() -> None:
    header = ",".join(["x" * 60, *(f"c{number}" for number in range(60))])
    with pytest.raises(DataError, match="and 41 more") as caught:
        roles(header)
    assert len(caught.value.message) < 300


def test_a_header_is_known_by_a_name() -> None:
    assert has_known_names(["x", "User_ID"], ColumnNames())
    assert has_known_names(["who", "what"], ColumnNames(user="who"))
    assert not has_known_names(["who", "what"], ColumnNames(user="1"))


def test_spellings_are_compared_without_decoration() -> None:
    assert simplified(" User-ID:token ") == "userid"
