"""Ctrl-C during training: finish the step, write the checkpoint, then stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from moerec.errors import MoerecError


class TrainingInterrupted(MoerecError):
    """The user stopped the training; the checkpoint resumes it."""

    exit_code = 130

    def __init__(self, checkpoint: Path | None) -> None:
        remedy = f"Go on with --resume (checkpoint: {checkpoint})." if checkpoint else ""
        super().__init__("training stopped before its end", remedy)


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one takes its usual course.

    Outside the main thread signals cannot be caught, and the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def ask(_number: int, _frame: FrameType | None) -> None:
        event.set()
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in before:
        signal.signal(name, ask)
    try:
        yield event
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
