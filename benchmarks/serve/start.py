"""CPU time until a version is loaded and warm, and of its calls, with and without TensorFlow's graph rewriting.

    python benchmarks/serve/start.py EXPORT/1

Each form is measured in a process of its own; process CPU time, so that other work on the machine counts little.
"""

import multiprocessing
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CALLS = 4
"""Calls of each signature and batch that are timed, after two that are not."""


def measure(folder: Path, rewriting: bool) -> None:
    """Print what loading costs, in seconds, and each warmup request of one or eight photos, in milliseconds."""
    import tensorflow as tf

    from serving import tensors
    from serving.bundle.warmup import read_warmup
    from serving.server import servable

    plain = tf.compat.v1.Session

    def session(graph: tf.Graph, config: tf.compat.v1.ConfigProto) -> tf.compat.v1.Session:
        config.graph_options.rewrite_options.disable_meta_optimizer = not rewriting
        return plain(graph=graph, config=config)

    tf.compat.v1.Session = session
    before = time.process_time()
    loaded = servable.Servable("seghgan", 1, folder, None)
    print(f"{'with' if rewriting else 'without'} rewriting: {time.process_time() - before:.1f} s")
    for request in read_warmup(folder):
        inputs = {name: tensors.decode(proto) for name, proto in request.inputs.items()}
        name, batch = request.model_spec.signature_name, len(next(iter(inputs.values())))
        if batch in (1, 8):
            endpoint = loaded.endpoint(name)
            for call in range(2 + CALLS):
                before = time.process_time() if call == 2 else before
                endpoint.run(inputs, alone=True)
            print(f"  {name}, batch {batch}: {1e3 * (time.process_time() - before) / CALLS:.1f} ms", flush=True)


def main() -> None:
    """Measure both forms, one after the other."""
    processes = multiprocessing.get_context("spawn")
    for rewriting in (True, False):
        process = processes.Process(target=measure, args=(Path(sys.argv[1]), rewriting))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
