"""A plan: what makes no sense is refused before anything starts; the token never leaves it in writing."""

import json
from typing import Any

import pytest

from moerec.errors import UsageError
from moerec.loadtest.plan import Plan, Target


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"items": 199}, "--items"),
        ({"items": 200, "events_a_user": (1, 200)}, "need more items"),
        ({"users": 1}, "--users"),
        ({"events_a_user": (9, 5)}, "--events-a-user"),
        ({"events_a_user": (0, 5)}, "--events-a-user"),
        ({"mix": (0, 1)}, "--mix"),
        ({"k": 101}, "--k"),
        ({"connections": 0}, "--connections"),
        ({"seconds": 0.5}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"shape": "huge"}, "--shape"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Plan(**wrong)


def test_the_rules_say_what_the_plan_does() -> None:
    few = "\n".join(Plan(users=5_000, connections=7).rules())
    assert "Zipf(1) among 5,000 users" in few
    assert "7 connections" in few
    assert "Zipf(1) among 100,000 users" in "\n".join(Plan().rules())


def test_the_token_goes_with_requests_and_into_no_file() -> None:
    target = Target(token="s3cret")  # noqa: S106
    assert target.headers() == {"Authorization": "Bearer s3cret"}
    assert Target().headers() == {}
    assert "s3cret" not in json.dumps(Plan(target=target).to_dict())


def test_what_is_kept_is_named_after_what_it_depends_on() -> None:
    plans = [
        Plan(),
        Plan(users=20),
        Plan(events_a_user=(1, 9)),
        Plan(seed=1),
        Plan(items=300),
        Plan(shape="large"),
        Plan(epochs=1),
    ]
    assert len({(plan.store_path, plan.bundle_path) for plan in plans}) == len(plans)
    # The load may differ from run to run.
    assert Plan(mix=(1, 1), k=5).store_path == Plan().store_path
