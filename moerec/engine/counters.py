"""What the engine counts of its own work: plain numbers, added to under the engine's lock."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Since the engine's start.

    * `frames`, `requests`: what came in, `busy_seconds`: time spent on it;
    * `states_hot`, `states_read`: users whose state was at hand, or was read from the event table;
    * `states_evicted`: states that went because others needed their place;
    * `answers_memo`, `answers_computed`: lists whose user's vector was known, or had to be computed;
    * `events_streamed`: events with which a kept state went on; `rows_encoded`: all events that went
      through the layers, rebuilt histories included;
    * `indexes_made`: times that the catalogue got a new index.
    """

    frames: int = 0
    requests: int = 0
    busy_seconds: float = 0.0
    states_hot: int = 0
    states_read: int = 0
    states_evicted: int = 0
    answers_memo: int = 0
    answers_computed: int = 0
    events_streamed: int = 0
    rows_encoded: int = 0
    indexes_made: int = 0
