"""The curve of load: from half of capacity to five times it, what is answered, how fast, and what is refused.

python benchmarks/serve/load.py --layers 24
python benchmarks/serve/load.py --export exports --name load-portrait-128
python benchmarks/serve/load.py --layers 24 --name load-fixed --server-flags "--max-in-flight 8 --max-waiting 4"

Capacity is the throughput of eight clients that each send their next request when the last one is answered. The goal is,
at 2 and 5 times it: at least 0.9 of it answered, p99 of what is answered at most 3 times that of a call alone. Both are
measured anew in each round, as machines change while they are measured: a round's points are beside its own. What is sent
in a point's first three seconds, in which the server notices the load, is left out of its figures and told as `onset`.
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
from serving.server.admission import OVERLOAD_SECONDS

SIGNATURE = "serving_uint8"

SETTLE_SECONDS = 3.0
"""Start of each point of the curve, in which the server notices the load: told apart in the result."""


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
    result = bench.open_loop(address, rate, seconds, SIGNATURE, settle=SETTLE_SECONDS)
    stop.set()
    prober.join()
    serving = outcomes.pop(health_pb2.HealthCheckResponse.SERVING, 0)
    return result | {"health": {"SERVING": serving, **{str(key): count for key, count in outcomes.items()}}}


def measure_round(address: str, clients: int, seconds: float, times: list[float]) -> dict[str, Any]:
    """Measure a call alone, the capacity, and each point of the curve."""
    alone = bench.closed_loop(address, SIGNATURE, 1, 1, seconds)
    together = bench.closed_loop(address, SIGNATURE, clients, 1, seconds)
    curve, seconds_to_recover = {}, {}
    for one in times:
        curve[f"{one:g}"] = overload(address, one * together["requests_per_second"], seconds)
        seconds_to_recover[f"{one:g}"] = round(recovery(address), 3)
    return {"alone": alone, "clients": together, "curve": curve, "recovery_seconds": seconds_to_recover}


def row(name: str, runs: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> str:
    """Return a line of the table: medians of a point's figures, and of their ratios to those of the same round."""
    rates = [run.get("answers_per_second", run.get("requests_per_second")) for run in runs]
    times = [run.get("accepted", run) for run in runs]
    shares = [rate / each["clients"]["requests_per_second"] for rate, each in zip(rates, rounds, strict=True)]
    waits = [time.get("p99_ms", math.nan) / each["alone"]["p99_ms"] for time, each in zip(times, rounds, strict=True)]
    p50, p99 = (median(time.get(key, math.nan) for time in times) for key in ("p50_ms", "p99_ms"))
    refused = median(run.get("refused_share", 0.0) for run in runs)
    refusal, onset = (median(run.get(key, {}).get("p99_ms", 0.0) for run in runs) for key in ("refused", "onset"))
    return (
        f"| {name} | {median(rates):.1f} | {median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f}) | {p50:.1f} | {p99:.1f} "
        f"| {median(waits):.2f} ({min(waits):.2f} to {max(waits):.2f}) | {refused:.1%} | {refusal:.1f} | {onset:.1f} |"
    )


def shown(rounds: list[dict[str, Any]], clients: int, times: list[float]) -> str:
    """Return the curve as a table; ratios are to the throughput of the clients and to the p99 of a call alone, of the same round."""
    head = "| load / capacity | answers a second | / capacity | p50 ms | p99 ms | p99 / alone | refused | refused p99 ms | onset p99 ms |"
    points = {"one call at a time": [each["alone"] for each in rounds]}
    points[f"{clients} clients, each waiting for its answer"] = [each["clients"] for each in rounds]
    points |= {f"{one:g}": [each["curve"][f"{one:g}"] for each in rounds] for one in times}
    return "\n".join([head, "|---" * 9 + "|", *(row(name, runs, rounds) for name, runs in points.items())])


def main() -> None:
    """Measure, save, and print the curve."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 0.7, 1, 1.5, 2, 3, 5], help="loads / capacity")
    parser.add_argument("--clients", type=int, default=8, help="clients whose answers a second are the capacity")
    parser.add_argument("--server-flags", default="", help="flags of the server")
    parser.add_argument("--name", default="load", help="name of the result")
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder, *arguments.server_flags.split(), cores=bench.apart(arguments.together))
        bench.closed_loop(server.address, SIGNATURE, 1, 1, 1.0)
        for _ in range(arguments.repeats):
            if rounds:
                time.sleep(OVERLOAD_SECONDS + 1)  # the server forgets the last round's overload
            rounds.append(measure_round(server.address, arguments.clients, arguments.seconds, arguments.times))
        result = {"rounds": rounds, "rss_kb": server.rss(), "exit_code": server.stop()}
        bench.save(arguments.name, arguments, export, result)
    print(shown(rounds, arguments.clients, arguments.times))


if __name__ == "__main__":
    main()
