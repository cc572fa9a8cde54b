"""The curve of load: from half of capacity to five times it, what is answered, how fast, and what is refused.

python benchmarks/serve/load.py --layers 24
python benchmarks/serve/load.py --export exports --name load-portrait-128
python benchmarks/serve/load.py --layers 24 --name load-fixed --server-flags "--max-in-flight 8 --max-waiting 4"

Capacity is the throughput of eight clients that each send their next request when the last one is answered. The goal is,
at 2 and 5 times it: at least 0.9 of it answered, p99 of what is answered at most 3 times that of a call alone.
"""

import math
import threading
import time
from collections import Counter
from statistics import median
from typing import Any

import bench
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import ClientError, Retry, SegHGANClient
from serving.client.bench import example

SIGNATURE = "serving_uint8"


def recovery(address: str) -> float:
    """Seconds until a single call is answered again."""
    start = time.monotonic()
    with SegHGANClient(address, retry=Retry(attempts=1)) as client:
        inputs = None
        while True:
            try:
                inputs = inputs or example(client.served(), SIGNATURE, 1)
                client.predict(SIGNATURE, inputs)
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
    result = bench.open_loop(address, rate, seconds, SIGNATURE)
    stop.set()
    prober.join()
    serving = outcomes.pop(health_pb2.HealthCheckResponse.SERVING, 0)
    return result | {"health": {"SERVING": serving, **{str(key): count for key, count in outcomes.items()}}}


def shown(result: dict[str, Any], times: list[float]) -> str:
    """Return the curve as a table: ratios are to the throughput of the clients and to the p99 of a call alone."""
    capacity, alone = result["capacity"], result["unloaded"]["accepted"]["p99_ms"]
    closed = next(value for key, value in result.items() if key.startswith("closed_loop"))
    lines = [
        "| load / capacity | answers a second | / capacity | p50 ms | p99 ms | p99 / alone | refused | refused p99 ms |"
    ]
    lines += [
        "|---" * 8 + "|",
        f"| one call at a time | | | {result['unloaded']['accepted']['p50_ms']:.1f} | {alone:.1f} | 1 | | |",
        f"| {closed['clients']} clients, each waiting for its answer | {closed['requests_per_second']:.1f} "
        f"| 1 | {closed['p50_ms']:.1f} | {closed['p99_ms']:.1f} | {closed['p99_ms'] / alone:.2f} | | |",
    ]
    for one in times:
        runs = result["curve"][f"{one:g}"]
        got = {key: median(run[key] for run in runs) for key in ("answers_per_second", "refused_share")}
        p50, p99 = (median(run["accepted"].get(key, math.nan) for run in runs) for key in ("p50_ms", "p99_ms"))
        refused = median(run["refused"].get("p99_ms", 0.0) for run in runs)
        lines.append(
            f"| {one:g} | {got['answers_per_second']:.1f} | {got['answers_per_second'] / capacity:.3f} | {p50:.1f} | {p99:.1f} "
            f"| {p99 / alone:.2f} | {got['refused_share']:.1%} | {refused:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, save, and print the curve."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each point of the curve")
    parser.add_argument("--repeats", type=int, default=3, help="how often each point is measured")
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 0.7, 1, 1.5, 2, 3, 5], help="loads / capacity")
    parser.add_argument("--clients", type=int, default=8, help="clients whose answers a second are the capacity")
    parser.add_argument("--server-flags", default="", help="flags of the server")
    parser.add_argument("--name", default="load", help="name of the result")
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder, *arguments.server_flags.split(), cores=bench.apart(arguments.together))
        bench.closed_loop(server.address, SIGNATURE, 1, 1, 1.0)
        alone = bench.closed_loop(server.address, SIGNATURE, 1, 1, arguments.seconds)
        clients = bench.closed_loop(server.address, SIGNATURE, arguments.clients, 1, arguments.seconds)
        capacity = clients["requests_per_second"]
        result: dict[str, Any] = {
            "unloaded": {"accepted": {key: alone[key] for key in ("p50_ms", "p90_ms", "p99_ms")}},
            f"closed_loop_{arguments.clients}_clients": clients,
            "capacity": capacity,
            "curve": {f"{times:g}": [] for times in arguments.times},
            "recovery_seconds": {},
        }
        for _ in range(arguments.repeats):  # round by round, so that what disturbs the machine disturbs every point
            for times in arguments.times:
                result["curve"][f"{times:g}"].append(overload(server.address, times * capacity, arguments.seconds))
                result["recovery_seconds"][f"{times:g}"] = round(recovery(server.address), 3)
        result["rss_kb"] = server.rss()
        result["exit_code"] = server.stop()
        bench.save(arguments.name, arguments, export, result)
    print(shown(result, arguments.times))


if __name__ == "__main__":
    main()
