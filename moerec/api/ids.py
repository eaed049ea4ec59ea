"""Ids of requests and of answers: different ones, and no secrets."""

from random import Random
from typing import Final

# Seeded by the system at the start of each process; asking the system for each id lets go of Python's lock.
_draw: Final = Random()  # noqa: S311


def new_id(bits: int) -> str:
    """So many random bits in hexadecimal digits."""
    return f"{_draw.getrandbits(bits):0{bits // 4}x}"
