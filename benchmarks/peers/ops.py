"""Where our side's time goes: the share of each kind of operation in a piece of work, by TensorFlow's profiler, on one thread.

python benchmarks/peers/ops.py learn-editing
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import own
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2


def main() -> None:
    """Profile a few turns and print the kinds of operations that take most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=own.WORKS)
    parser.add_argument("--kinds", type=int, default=16, help="how many kinds to print")
    given = parser.parse_args()
    own.one_thread()
    step = own.WORKS[given.work]()
    for _ in range(3):
        step()
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        with tf.profiler.experimental.Profile(name):
            for _ in range(3):
                step()
        for file in Path(name).rglob("*.xplane.pb"):
            for plane in xplane_pb2.XSpace.FromString(file.read_bytes()).planes:
                for event in (event for line in plane.lines for event in line.events):
                    operation, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                    if operation and not operation.endswith(":") and " " not in operation and kind.isidentifier():
                        spent[kind] += event.duration_ps
    for kind, duration in spent.most_common(given.kinds):
        print(f"{duration / spent.total():6.1%}  {kind}")


if __name__ == "__main__":
    main()
