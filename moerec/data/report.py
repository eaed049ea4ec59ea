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
            f"{self.rows:,} rows read: {self.events:,} events, {self.users:,} users, {self.items:,} items"
        ]
        notes = (
            (self.duplicate_rows, "rows left out: exact duplicates"),
            (self.future_rows, "rows left out: their time is in the future"),
            (self.unplaced_rows, "rows left out: no place in the history (-1)"),
            (self.tied_rows, "events at the same time as the user's event before: file order kept"),
            (
                self.short_users,
                "users with fewer than three events: they train, they are not evaluated",
            ),
        )
        lines += [f"  {count:,} {what}" for count, what in notes if count]
        return "\n".join(lines)
