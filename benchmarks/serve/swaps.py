"""Versions swapped under load: failed calls, wrong answers, and memory over swaps and calls.

python benchmarks/serve/swaps.py --swaps 200 --calls 50000
"""

import shutil
import threading
import time

import bench
import numpy as np

from serving.client import ClientError, SegHGANClient
from serving.client.bench import example


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.set_defaults(size=32, layers=2)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--calls", type=int, default=50_000)
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        other = bench.write_export(folder / "other", 2, arguments.size, arguments.layers, 0.25)
        server = bench.Server(export, folder, "--file-system-poll-wait-seconds", "0.1")
        stop, answers, failed = threading.Event(), {}, []
        image = {"image": np.zeros((1, arguments.size, arguments.size, 3), np.float32)}
        asked = {"expression": np.ones((1, 3), np.float32), "regions": np.float32([[1, 0, 0, 0]])}

        def load() -> None:
            with SegHGANClient(server.address) as client:
                while not stop.is_set():
                    try:
                        reply = client.predict("serving_default", image | asked)
                        key = (reply.version, round(float(reply.outputs["edited"][0, 0, 0, 0]), 2))
                        answers[key] = answers.get(key, 0) + 1
                    except ClientError as error:
                        failed.append(str(error))
                    time.sleep(0.005)

        thread = threading.Thread(target=load)
        thread.start()
        memory = []
        with SegHGANClient(server.address) as client:
            for swap in range(arguments.swaps):
                to = 2 if swap % 2 == 0 else 1
                if to == 2:
                    shutil.copytree(other, export / ".part")
                    (export / ".part").rename(export / "2")
                else:
                    shutil.rmtree(export / "2")
                while (
                    client.status().get(to, ("",))[0] != "AVAILABLE" or client.status().get(3 - to, ("",))[0] != "END"
                ):
                    time.sleep(0.02)
                memory.append(server.rss())
            stop.set()
            thread.join()
            inputs = example(client.served(), "analyze", 1)
            for _ in range(1000):
                client.predict("analyze", inputs)
            before = server.rss()
            for _ in range(arguments.calls):
                client.predict("analyze", inputs)
            after = server.rss()
        result = {
            "swaps": arguments.swaps,
            "calls_during_swaps": sum(answers.values()),
            "answers": {str(key): count for key, count in answers.items()},
            "failed_calls": len(failed),
            "rss_kb_every_20_swaps": memory[::20],
            "rss_growth_after_first_20_swaps": round(memory[-1] / memory[min(20, len(memory) - 1)] - 1, 4),
            "calls": arguments.calls,
            "rss_growth_over_calls": round(after / before - 1, 4),
        }
        server.stop()
    bench.save("swaps", arguments, export, result)


if __name__ == "__main__":
    main()
