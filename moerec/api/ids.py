"""Ids of requests, answers and events without one: different ones, and no secrets.

Those of a process grow, so that an index of them grows at its end.
"""

import os
from itertools import count
from secrets import token_hex

_first_digits = token_hex(10)
_numbers = count(1)


def new_id() -> str:
    """32 hexadecimal digits that no other id of any process has, as far as chance goes."""
    # To ask the system for each one costs as much as a tenth of a request.
    return f"{_first_digits}{next(_numbers):012x}"


def _begin_anew() -> None:
    global _first_digits
    _first_digits = token_hex(10)


os.register_at_fork(after_in_child=_begin_anew)
