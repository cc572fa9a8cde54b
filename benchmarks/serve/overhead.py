"""What the server adds to a direct SavedModel call, and its throughput beside the best in-process batching.

python benchmarks/serve/overhead.py
"""

import time
from pathlib import Path

import bench
import numpy as np

from serving.client import SegHGANClient
from serving.load import example, measure


def direct(export: Path, size: int, repeats: int) -> dict[str, float]:
    """p50 of single calls in ms, and images a second in batches of 8 with two threads."""
    from concurrent.futures import ThreadPoolExecutor

    import tensorflow as tf

    function = tf.saved_model.load(str(export / "1")).signatures["serving_uint8"]
    random = np.random.default_rng(0)

    def feed(batch: int) -> dict[str, np.ndarray]:
        return {
            "image": random.integers(0, 256, (batch, size, size, 3), np.uint8),
            "expression": random.random((batch, 3), np.float32),
            "regions": random.random((batch, 4), np.float32),
        }

    def run(inputs: dict[str, np.ndarray]) -> float:
        start = time.perf_counter()
        function(**{name: tf.constant(value) for name, value in inputs.items()})["edited"].numpy()
        return time.perf_counter() - start

    one = feed(1)
    single = [run(one) for _ in range(repeats)][repeats // 10 :]
    best = 0.0
    for batch in (1, 2, 4, 8):
        inputs = feed(batch)
        run(inputs)
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                count = len(list(pool.map(lambda _, inputs=inputs: run(inputs), range(repeats // batch))))
                best = max(best, count * batch / (time.perf_counter() - start))
    return {"p50_ms": float(np.median(single)) * 1e3, "best_images_per_second": best}


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        alone = direct(export, arguments.size, arguments.repeats)
        server = bench.Server(export, folder)
        with SegHGANClient(server.address) as client:
            inputs = example(client.served(), "serving_uint8", 1)
            latencies = []
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                client.predict("serving_uint8", inputs)
                latencies.append(time.perf_counter() - start)
        served = float(np.median(latencies[arguments.repeats // 10 :])) * 1e3
        eight = measure(server.address, "seghgan", "serving_uint8", 8, 1, 5.0)
        server.stop()
    result = {
        "direct_p50_ms": round(alone["p50_ms"], 2),
        "served_p50_ms": round(served, 2),
        "overhead_p50_ms": round(served - alone["p50_ms"], 2),
        "best_in_process_images_per_second": round(alone["best_images_per_second"], 1),
        "served_8_clients": eight,
        "throughput_ratio": round(eight["images_per_second"] / alone["best_images_per_second"], 2),
    }
    bench.save("overhead", arguments, result)


if __name__ == "__main__":
    main()
