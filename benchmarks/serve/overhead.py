"""What the server adds to a direct SavedModel call, and its throughput beside the best in-process batching.

python benchmarks/serve/overhead.py --layers 24
python benchmarks/serve/overhead.py --export exports --name overhead-portrait-128

The load has a core of its own (`--together`: it shares the server's), and the direct calls run on the server's cores.
Rounds of both alternate, so that what disturbs the machine disturbs both; medians are given.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import bench
import numpy as np

from serving.bundle.manifest import versions
from serving.client import SegHGANClient
from serving.client.bench import example

_function: Any = None


def load(export: Path, cores: set[int]) -> None:
    """Load the SavedModel in a process of its own, on these cores."""
    global _function  # the process's own model
    os.sched_setaffinity(0, cores)
    import tensorflow as tf

    _function = tf.saved_model.load(str(list(versions(export).values())[-1])).signatures["serving_uint8"]


def run(inputs: dict[str, np.ndarray]) -> float:
    """Call the SavedModel and return the seconds it took."""
    import tensorflow as tf

    start = time.perf_counter()
    _function(**{name: tf.constant(value) for name, value in inputs.items()})["edited"].numpy()
    return time.perf_counter() - start


def direct_latency(inputs: dict[str, np.ndarray], repeats: int) -> float:
    """p50 of single calls in ms."""
    return median([run(inputs) for _ in range(repeats)][repeats // 10 :]) * 1e3


def direct_throughput(batches: list[dict[str, np.ndarray]], seconds: float) -> tuple[float, float]:
    """Images a second in the best of several batch sizes with one or two threads, and the CPU time of an image in ms."""
    best = (0.0, 0.0)
    for inputs in batches:
        run(inputs)
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                start, spent, count = time.perf_counter(), time.process_time(), 0
                while time.perf_counter() - start < seconds:
                    count += len(inputs["image"]) * len(list(pool.map(run, [inputs] * 2 * threads)))
                took = time.perf_counter() - start
            best = max(best, (count / took, (time.process_time() - spent) / count * 1e3))
    return best


def served_latency(address: str, repeats: int) -> float:
    """p50 of single calls over gRPC in ms."""
    with SegHGANClient(address) as client:
        inputs = example(client.served(), "serving_uint8", 1)
        latencies = []
        for _ in range(repeats):
            start = time.perf_counter()
            client.predict("serving_uint8", inputs)
            latencies.append(time.perf_counter() - start)
    return median(latencies[repeats // 10 :]) * 1e3


def served_throughput(server: bench.Server) -> dict[str, Any]:
    """Eight clients' load, with the CPU time that an image takes of the server and of the load in ms."""
    server_spent, load_spent, start = bench.cpu_seconds(server.process.pid), time.process_time(), time.perf_counter()
    found = bench.closed_loop(server.address, "serving_uint8", 8, 1, 4.0)
    images = found["images_per_second"] * (time.perf_counter() - start)
    server_spent = bench.cpu_seconds(server.process.pid) - server_spent
    load_spent = time.process_time() - load_spent
    return found | {
        "server_cpu_ms": round(server_spent / images * 1e3, 2),
        "load_cpu_ms": round(load_spent / images * 1e3, 2),
    }


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--repeats", type=int, default=100, help="single calls a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="overhead", help="name of the result")
    arguments = parser.parse_args()
    rounds = []
    with bench.workplace(arguments) as (folder, export):
        cores = bench.apart(arguments.together)
        server = bench.Server(export, folder, cores=cores)
        with SegHGANClient(server.address) as client:
            batches = [example(client.served(), "serving_uint8", batch) for batch in (1, 4, 8)]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, load, (export, cores)) as pool:
            for _ in range(arguments.rounds):
                alone = pool.submit(direct_latency, batches[0], arguments.repeats).result()
                served = served_latency(server.address, arguments.repeats)
                best, cpu = pool.submit(direct_throughput, batches, 2.0).result()
                eight = served_throughput(server)
                rounds.append(
                    {
                        "direct_p50_ms": round(alone, 2),
                        "served_p50_ms": round(served, 2),
                        "overhead_p50_ms": round(served - alone, 2),
                        "best_in_process_images_per_second": round(best, 1),
                        "in_process_cpu_ms": round(cpu, 2),
                        "served_images_per_second": eight["images_per_second"],
                        "throughput_ratio": round(eight["images_per_second"] / best, 3),
                        **{key: eight[key] for key in ("server_cpu_ms", "load_cpu_ms", "p50_ms", "p99_ms", "errors")},
                    }
                )
        server.stop()
        medians = {key: round(median(one[key] for one in rounds), 3) for key in rounds[0] if key != "errors"}
        bench.save(arguments.name, arguments, export, {"medians": medians, "rounds": rounds})


if __name__ == "__main__":
    main()
