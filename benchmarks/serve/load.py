"""Steady load at 0.7 of capacity, then 2 and 5 times capacity, then the time to recover.

python benchmarks/serve/load.py --layers 24 --calls 10000
python benchmarks/serve/load.py --layers 24 --calls 1000 --name load-latency --clients 2 --server-flags "--max-in-flight 2 --max-waiting 0"
"""

import threading
import time
from collections import Counter
from statistics import median

import bench
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import ClientError, Retry, SegHGANClient
from serving.client.bench import example


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


def probe(address: str, stop: threading.Event, outcomes: Counter[str]) -> None:
    """Ask for health every 0.2 s, as an orchestrator would, and count the answers."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while not stop.wait(0.2):
            try:
                outcomes[stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0).status] += 1
            except grpc.RpcError as error:
                outcomes[error.code().name] += 1


def overload(address: str, rate: float, seconds: float) -> dict:
    """Send at a rate above capacity while health is asked for."""
    stop, outcomes = threading.Event(), Counter()
    prober = threading.Thread(target=probe, args=(address, stop, outcomes))
    prober.start()
    result = bench.open_loop(address, rate, seconds, "serving_uint8")
    stop.set()
    prober.join()
    serving = outcomes.pop(health_pb2.HealthCheckResponse.SERVING, 0)
    return result | {"health": {"SERVING": serving, **{str(key): count for key, count in outcomes.items()}}}


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each overload")
    parser.add_argument("--repeats", type=int, default=3, help="how often each overload is made")
    parser.add_argument("--clients", type=int, default=8, help="clients whose answers a second are the capacity")
    parser.add_argument("--server-flags", default="", help="flags of the server")
    parser.add_argument("--name", default="load", help="name of the result")
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder, *arguments.server_flags.split(), cores=bench.apart(arguments.together))
        unloaded = bench.closed_loop(server.address, "serving_uint8", 1, 1, 5.0)
        closed = bench.closed_loop(server.address, "serving_uint8", arguments.clients, 1, 5.0)
        capacity = closed["requests_per_second"]
        steady = bench.open_loop(server.address, 0.7 * capacity, arguments.calls / (0.7 * capacity), "serving_uint8")
        result = {"unloaded_1_client": unloaded, f"closed_loop_{arguments.clients}_clients": closed, "steady": steady}
        for times in (2, 5):
            runs = [overload(server.address, times * capacity, arguments.seconds) for _ in range(arguments.repeats)]
            result[f"overload_{times}x"] = runs
            result[f"overload_{times}x_median_p99_ms"] = {
                kind: median(run[kind].get("p99_ms", 0.0) for run in runs) for kind in ("accepted", "refused")
            }
            result[f"recovery_after_{times}x_seconds"] = round(recovery(server.address), 3)
        result["rss_kb"] = server.rss()
        result["exit_code"] = server.stop()
    bench.save(arguments.name, arguments, result)


if __name__ == "__main__":
    main()
