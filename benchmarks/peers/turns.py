"""A side of a comparison: it makes its work ready, then does it once for each line it reads and says what it took, on one thread."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Step = Callable[[], object]
"""One piece of work."""


def processor_ms(step: Step) -> float:
    """Return the processor time of this whole process, all its threads, that a piece of work takes."""
    before = time.process_time()
    step()
    return 1e3 * (time.process_time() - before)


def take_turns(works: Mapping[str, Callable[[], Step]], facts: Callable[[], dict[str, Any]]) -> None:
    """Make ready the work that the command line names, say so with `facts`, then serve turns until the input ends."""
    parser = argparse.ArgumentParser(description="One side of benchmarks/peers/run.py, which starts it.")
    parser.add_argument("work", choices=sorted(works))
    parser.add_argument("--times", type=int, default=1, help="how often a turn does it")
    given = parser.parse_args()
    step = works[given.work]()
    for _ in range(2):
        step()
    print(json.dumps(facts()), flush=True)
    for _ in sys.stdin:
        print(json.dumps([processor_ms(step) for _ in range(given.times)]), flush=True)
