"""How much memory does each process of a training take, and how much of it is its own?

    python bench/training_memory.py [LOG] [--rows 10000000] [--processes 2] [--seconds 120] [--tree DIR]

Starts `moerec train` on several processes, as torchrun does, and stops them with Ctrl-C after some time.
Peak is the most that a process ever held (VmHWM), own is what it alone holds at the end, shared what
others hold too (by /proc, so on Linux). Without LOG the synthetic one of `prepare.py` is made. `--tree` runs
another checkout, to compare.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import ROOT, about
from prepare import write_log

USERS, ITEMS, SEED = 200_000, 100_000, 0


def start(log: Path, out: Path, options: argparse.Namespace) -> list[subprocess.Popen[bytes]]:
    """All processes of one training."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    number = str(options.processes)
    environment = {**os.environ, "PYTHONPATH": str(options.tree), "OMP_NUM_THREADS": "1"}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment |= {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
    command = [sys.executable, "-m", "moerec", "train", str(log), "--out", str(out)]
    return [
        subprocess.Popen(
            [*command, "--device", "cpu", "--epochs", "1"],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=options.tree,
            stdout=sys.stderr,
        )
        for rank in range(options.processes)
    ]


def memory(process: int) -> dict[str, int]:
    """MiB: peak, own, shared."""
    found = {"Peak": 0, "Own": 0, "Shared": 0}
    names = {"VmHWM": "Peak", "Private": "Own", "Shared": "Shared"}
    for file in ("status", "smaps_rollup"):
        for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if (meant := names.get(name.split("_")[0])) and value.endswith("kB"):
                found[meant] += int(value.split()[0])
    return {name.lower(): kib // 1024 for name, kib in found.items()}


def main() -> int:
    """Prints a line a process; 1 if one of them ended by itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--tree", type=Path, default=ROOT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        log = options.log or Path(folder) / "log.csv"
        if options.log is None:
            write_log(log, options.rows, USERS, ITEMS, SEED)
        processes = start(log, Path(folder) / "bundle", options)
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline and all(each.poll() is None for each in processes):
            time.sleep(0.5)
        if alive := all(each.poll() is None for each in processes):
            for rank, each in enumerate(processes):
                found = memory(each.pid)
                print(f"process {rank}  " + "  ".join(f"{n} {m:,} MiB" for n, m in found.items()))
        for each in processes:
            each.send_signal(signal.SIGINT)
        for each in processes:
            each.wait()
    print("; ".join(f"{name} {value}" for name, value in about().items()))
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
