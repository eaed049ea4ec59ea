"""What was read from a log and what was left out, counted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IntakeReport:
    """Counts of one reading.

    * `rows` read; `events` kept, of `users` users and `items` items;
    * left out: `duplicate_rows` (exact duplicates in a log with times; without times a repeat is a
      real repeat and stays), `future_rows` (a time later than now), `unplaced_rows` (the order
      column says -1: no place in the history);
    * kept: `tied_rows` share user and time with the event before (file order decides);
      `short_users` have fewer than three events (they train, they are not evaluated).
    """

    rows: int
    events: int
    users: int
    items: int
    duplicate_rows: int = 0
    future_rows: int = 0
    tied_rows: int = 0
    short_users: int = 0
    unplaced_rows: int = 0

    def __str__(self) -> str:
        lines = [
            f"{_counted(self.rows, 'row')} read: {_counted(self.events, 'event')}, "
            f"{_counted(self.users, 'user')}, {_counted(self.items, 'item')}"
        ]
        notes = (
            (self.duplicate_rows, "row", "left out: exact duplicates"),
            (self.future_rows, "row", "left out: time in the future"),
            (self.unplaced_rows, "row", "left out: no place in the history (-1)"),
            (
                self.tied_rows,
                "event",
                "at the same time as the user's event before: file order kept",
            ),
            (
                self.short_users,
                "user",
                "with fewer than three events: trained on, not evaluated",
            ),
        )
        lines += [f"  {_counted(count, noun)} {what}" for count, noun, what in notes if count]
        return "\n".join(lines)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
