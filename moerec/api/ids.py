"""Ids of requests, answers and events without one: different ones, and no secrets.

Those of a process grow, so that an index of them grows at its end.
"""

from itertools import count
from secrets import token_hex
from typing import Final

# Of this process; to ask the system for each id costs as much as a tenth of a request.
_FIRST_DIGITS: Final = token_hex(10)
_numbers: Final = count(1)


def new_id() -> str:
    """32 hexadecimal digits that no other id of any process has, as far as chance goes."""
    return f"{_FIRST_DIGITS}{next(_numbers):012x}"
