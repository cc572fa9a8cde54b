"""Two servers behind one round_robin client: rolling restarts by SIGTERM, then kill -9.

python benchmarks/serve/restarts.py --restarts 20
"""

import signal
import threading
import time

import bench
import numpy as np

from serving.client import ClientError, Retry, SegHGANClient


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.set_defaults(size=32, layers=2)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        servers = [bench.Server(export, folder, "--lame-duck-seconds", "0.2") for _ in range(2)]
        target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        stop, latencies, failed, codes = threading.Event(), [], [], []
        image = np.zeros((1, arguments.size, arguments.size, 3), np.float32)

        def load() -> None:
            with SegHGANClient(target, timeout=10.0, retry=Retry(attempts=5)) as client:
                while not stop.is_set():
                    start = time.monotonic()
                    try:
                        client.predict("analyze", {"image": image})
                        latencies.append(time.monotonic() - start)
                    except ClientError as error:
                        failed.append(str(error))
                    time.sleep(0.01)

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        signals = [signal.SIGTERM] * arguments.restarts + [signal.SIGKILL] * arguments.kills
        for i, number in enumerate(signals):
            port = servers[i % 2].port
            codes.append(servers[i % 2].stop(number))
            servers[i % 2] = bench.Server(export, folder, "--lame-duck-seconds", "0.2", port=port)
            time.sleep(1.0)
        stop.set()
        for thread in threads:
            thread.join()
        for server in servers:
            server.stop()
    result = {
        "restarts": arguments.restarts,
        "kills": arguments.kills,
        "exit_codes": sorted(set(codes)),
        "answered": len(latencies),
        "failed_calls": len(failed),
        "failures": failed[:3],
        "longest_call_ms": round(max(latencies) * 1e3, 1),
        **bench.percentiles(latencies),
    }
    bench.save("restarts", arguments, export, result)


if __name__ == "__main__":
    main()
