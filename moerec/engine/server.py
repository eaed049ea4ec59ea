"""The engine process: `python -m moerec.engine.server`, settings from the environment.

Serves until SIGTERM or SIGINT, answers what it has begun, and exits 0.
"""

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from moerec.artifacts.bundle import read_bundle
from moerec.engine.engine import Engine
from moerec.engine.follower import Follower
from moerec.engine.item_follower import ItemFollower
from moerec.errors import MoerecError, SettingsError
from moerec.models.loading import choose_device
from moerec.observability.logging import configure_logging
from moerec.settings import Settings
from moerec.store.sql import open_event_store
from moerec.transport.server import serve

SLOW_WARM_UP_S = 5.0
"""With compiled kernels at hand it takes a second."""

DRAIN_S = 0.5
"""Time that frames under way have after SIGTERM."""

LOOK_S = 1.0
"""Between two looks whether the door still answers: a process that does not can be started anew."""

GARBAGE_AFTER = 5_000
"""Objects more than before, after which Python looks for cycles among them: a millisecond or two."""

log = logging.getLogger("moerec.engine.server")  # `__name__` is "__main__" in the process


def main() -> int:
    """Serve until told to stop; 0 then, or the exit code of the error that prevented it."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # From a thread: the handler runs inside the main thread, which may hold the event's lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    try:
        settings = Settings.load()
        configure_logging(settings.log_level)
        run(settings, stop)
    except MoerecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def run(settings: Settings, stop: threading.Event) -> None:
    """Serve the bundle of the settings until `stop` is set."""
    started = time.monotonic()
    use_all_cores_but_one()
    address = own_address(settings)
    bundle = read_bundle(settings.bundle_path())
    with closing(open_event_store(settings.database_url, settings.durability)) as store:
        device = choose_device(settings.device)
        stored = np.dtype(settings.state_type).type
        told = threading.Event()
        engine = Engine(
            bundle,
            store,
            device,
            settings.arena_mib << 20,
            stored,
            settings.expert_quota,
            settings.busy_frame,
            settings.taste_memo,
            told.set,
        )
        item_follower = ItemFollower(store, engine, told)
        item_follower.catch_up()
        follower = Follower(store, engine.apply_stored, engine.forget_users)
        warm_up(engine)
        remove_stale_socket(address)

        def catch_up() -> None:
            told.set()
            follower.try_to_catch_up()

        # A gateway that comes back has told another engine of events meanwhile.
        server = serve(engine.answer, address, catch_up, bundle.version)
        follower.start()
        item_follower.start()
        with calm_collector():
            log.info(
                "Model %s (%d items) listens on %s, %.1f s after the start",
                bundle.version,
                len(bundle.id_map),
                address,
                time.monotonic() - started,
            )
            while not stop.wait(LOOK_S):
                if server.wait(0):
                    raise MoerecError("The engine's door has broken down; its log tells more.")
            server.stop(DRAIN_S)
        item_follower.stop()
        follower.stop()


def own_address(settings: Settings) -> str:
    """Where this engine listens; SettingsError if the settings name several places."""
    if len(settings.engine_addresses) > 1:
        raise SettingsError(
            f"MOEREC_ENGINE_ADDRESS names {len(settings.engine_addresses)} addresses, and an engine "
            "listens on one.",
            "Give each engine its own, and gateways all of them; `moerec serve` does it for one machine.",
        )
    return settings.engine_addresses[0]


def warm_up(engine: Engine) -> None:
    """Lets the engine answer once; who waits long for it on a new machine is told why."""
    started = time.monotonic()
    engine.warm_up()
    spent = time.monotonic() - started
    if spent > SLOW_WARM_UP_S:
        log.info("The kernels were compiled for this machine, which took %.0f s.", spent)


@contextmanager
def calm_collector() -> Iterator[None]:
    """Lets Python look for garbage in cycles among new objects alone, a millisecond at a time.

    The states of users are eight objects each, and no cycles: to go through those of 20,000 users takes .2 s,
    in which nobody is answered. So what has survived one look is not looked at again.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    gc.callbacks.append(_keep)
    try:
        yield
    finally:
        gc.callbacks.remove(_keep)
        gc.set_threshold(*before)
        gc.unfreeze()


def _keep(phase: str, _: Mapping[str, int]) -> None:
    if phase == "stop":
        gc.freeze()


def use_all_cores_but_one() -> None:
    """One core is the gateway's, and small batches gain nothing from more threads than free cores.

    An OMP_NUM_THREADS of the environment is left alone.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))


def remove_stale_socket(address: str) -> None:
    """Clears what a killed engine left at `unix:PATH`; SettingsError if a living one listens there."""
    path = Path(address.removeprefix("unix:"))
    if not address.startswith("unix:") or not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SettingsError(
        f"Another engine listens on {address} already.",
        "Stop it, or set MOEREC_ENGINE_ADDRESS to another address.",
    )


def leave(code: int) -> NoReturn:
    """Ends the process with this exit code, at once if a thread is at work that nobody waits for.

    An index may be under way: Python would cut its thread off within native code, which aborts the process.
    """
    if any(each.daemon for each in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
