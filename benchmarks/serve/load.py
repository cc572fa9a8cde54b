"""Steady load at 0.7 of capacity, then 2 and 5 times capacity, then the time to recover.

python benchmarks/serve/load.py --calls 10000
"""

import time

import bench

from serving.client import ClientError, Retry, SegHGANClient
from serving.load import example, measure


def recovery(address: str) -> float:
    """Seconds until a single call is answered again."""
    start = time.monotonic()
    with SegHGANClient(address, retry=Retry(attempts=1)) as client:
        inputs = None
        while True:
            try:
                inputs = inputs or example(client.served(), "serving_uint8", 1)
                client.predict("serving_uint8", inputs)
            except ClientError:
                time.sleep(0.01)
            else:
                return time.monotonic() - start


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each overload")
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder)
        closed = measure(server.address, "seghgan", "serving_uint8", 8, 1, 5.0)
        capacity = closed["requests_per_second"]
        steady = bench.open_loop(server.address, 0.7 * capacity, arguments.calls / (0.7 * capacity), "serving_uint8")
        result = {"closed_loop_8_clients": closed, "steady": steady}
        for times in (2, 5):
            result[f"overload_{times}x"] = bench.open_loop(
                server.address, times * capacity, arguments.seconds, "serving_uint8"
            )
            result[f"recovery_after_{times}x_seconds"] = round(recovery(server.address), 3)
        result["rss_kb"] = server.rss()
        result["exit_code"] = server.stop()
    bench.save("load", arguments, result)


if __name__ == "__main__":
    main()
