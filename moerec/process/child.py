"""Runs a module as a child that never outlives its parent: `python -m moerec.process.child MODULE ARGS`.

The parent holds the other end of the child's standard input and never writes to it. When the parent
is gone, even by kill -9, the input ends, and the child ends as if it had been asked to (SIGTERM).
Portable, where the parent-death signal is Linux only.
"""

import gc
import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 5.0
"""Time between SIGTERM and a hard exit for a child whose parent is gone."""

GARBAGE_AFTER = 20_000
"""Objects more than before, after which Python looks for cycles. What is imported is there to stay: to look
through it after every 700 takes a tenth of an engine's imports."""


def main() -> None:
    """Watch the parent in a thread, and become the module that the arguments name."""
    gc.set_threshold(GARBAGE_AFTER)
    module = sys.argv[1]
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    # os.read and not sys.stdin: a daemon thread inside a buffered reader aborts interpreter shutdown.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
