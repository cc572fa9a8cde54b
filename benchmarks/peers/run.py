"""`make bench`: our work beside the peers' on the same machine, in turns, one thread each, by processor time; `make bench-check`.

    python benchmarks/peers/run.py                # every row; keeps results/peers.json, the table and the plots of docs/performance.md
    python benchmarks/peers/run.py --only edit-1  # a row, printed and not kept
    python benchmarks/peers/run.py --check        # fewer rounds; fails where a ratio is over the kept one by more than --tolerance

A peer's network is written in PyTorch from its published table and must have the published number of parameters. PyTorch and TensorFlow
run in processes of their own, of which one works while the other waits. A ratio is our median by the peer's; below 1 we take less.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from page import ROOT, keep, printed

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "peers.json"


class Row(NamedTuple):
    """A comparison: the work, who else does it, the ratio we want at most, and how often a turn does it."""

    work: str
    peer: str
    aim: float
    times: int


class Start(NamedTuple):
    """A start that has no peer: what, and the seconds on the wall we want at most on a quiet machine."""

    work: str
    aim: float


ROWS = {
    "edit-1": Row("whole edit of a photo, `faces-128` untrained, batch 1", "GANimation's generator alone", 0.30, 5),
    "edit-8": Row("whole edit of photos, `faces-128` untrained, batch 8", "GANimation's generator alone", 0.30, 1),
    "segment-512": Row("BiSeNet forward, 512 px, batch 1", "BiSeNet", 0.70, 3),
    "segment-256": Row("BiSeNet forward, 256 px, batch 1", "BiSeNet", 0.70, 5),
    "learn-segmenting": Row("BiSeNet training step, 256 px, batch 4", "BiSeNet, SGD", 0.85, 1),
    "learn-editing": Row(
        "joint step of `drawn-64`, batch 16: critics, generators, segmenter", "GANimation's D + G step, conv_dim 16", 0.80, 1
    ),
}  # fmt: skip
STARTS = {
    "first-step": Start("first joint step of `drawn-64` after `fit`", 12),
    "edit": Start("`seghgan edit PHOTO` from process start to file", 4),
    "load": Start("the packaged model loaded, TensorFlow being there", 1),
}


@contextlib.contextmanager
def side(program: str, row: str, times: int) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Start a side of a row and wait until it is ready; give its facts and the process, which a line sets to work."""
    laid = {"own.py": ROOT, "peer.py": ROOT / ".venv" / "bench"}[program]
    command = [sys.executable, str(HERE / program), row, "--times", str(times)]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(laid), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdin=-1, stdout=-1, stderr=said, text=True, env=os.environ | threads) as process,
    ):
        try:
            yield answer(process), process
        except SystemExit:
            said.seek(0)
            sys.stderr.write(said.read())
            raise
        finally:
            process.stdin.close()  # type: ignore[union-attr]


def answer(process: subprocess.Popen[str]) -> Any:
    """Read a side's next line. Raises SystemExit where it ended instead."""
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise SystemExit(f"`{' '.join(map(str, process.args))}` ended with {process.wait()}")  # type: ignore[arg-type]
    return json.loads(line)


def compared(name: str, rounds: int) -> dict[str, Any]:
    """Measure a row: both sides in turns, `rounds` each."""
    taken: dict[str, list[float]] = {"own.py": [], "peer.py": []}
    load = []
    with side("own.py", name, ROWS[name].times) as own, side("peer.py", name, ROWS[name].times) as peer:
        for _ in range(rounds):
            for program, (_, process) in zip(taken, (own, peer), strict=True):
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                taken[program] += answer(process)
            load.append(os.getloadavg()[0])
    ours, theirs = (statistics.median(values) for values in taken.values())
    return {
        "work": ROWS[name].work, "peer": ROWS[name].peer, "aim": ROWS[name].aim,
        "ours_ms": round(ours, 1), "peer_ms": round(theirs, 1), "ratio": round(ours / theirs, 3),
        "load": round(statistics.mean(load), 2), **own[0], **peer[0],
        "samples_ms": [[round(value, 1) for value in values] for values in taken.values()],
    }  # fmt: skip


def started(name: str, rounds: int) -> dict[str, Any]:
    """Measure a start, each time in a new process."""
    command = [sys.executable, str(HERE / "starts.py"), name]
    found = []
    for _ in range(rounds):
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
        found.append(json.loads(done.stdout.splitlines()[-1]) | {"load": os.getloadavg()[0]})
    medians = {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
    return {"work": STARTS[name].work, "aim": STARTS[name].aim, **medians}


def machine() -> dict[str, Any]:
    """Say what and when this is."""
    names = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "date": time.strftime("%Y-%m-%d"), "processor": names[0], "cores": len(names),
        "python": platform.python_version(), "seed": 0, "command": "make bench",
    }  # fmt: skip


def over(rows: dict[str, Any], tolerance: float) -> list[str]:
    """Return the rows whose ratio is over the kept one by more than `tolerance` of it, in words."""
    kept = json.loads(RESULTS.read_text())["rows"]
    return [
        f"{name}: {row['ratio']} beside {kept[name]['ratio']}"
        for name, row in rows.items()
        if row["ratio"] > kept[name]["ratio"] * (1 + tolerance)
    ]


def main() -> None:
    """Measure, print, and keep or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*ROWS, *STARTS], help="measure and print these alone")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side")
    parser.add_argument("--check", action="store_true", help="compare with what is kept, keep nothing")
    parser.add_argument("--tolerance", type=float, default=0.15, help="by how much a ratio may be over the kept one")
    given = parser.parse_args()
    rounds = min(given.rounds, 5) if given.check else given.rounds
    names = given.only or ([*ROWS] if given.check else [*ROWS, *STARTS])
    figures = {
        "machine": machine(),
        "rows": {name: compared(name, rounds) for name in ROWS if name in names},
        "starts": {name: started(name, min(rounds, 3)) for name in STARTS if name in names},
    }
    print(printed(figures))
    if given.check:
        if found := over(figures["rows"], given.tolerance):
            raise SystemExit("slower than what is kept: " + "; ".join(found))
        print(f"no ratio is over the kept one by more than {given.tolerance:.0%}")
    elif not given.only:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
        keep(figures)


if __name__ == "__main__":
    main()
