"""The curve of load: from half of capacity to five times it, what is answered, how fast, and what is refused.

python benchmarks/serve/load.py --layers 24
python benchmarks/serve/load.py --export exports --name load-portrait-128
python benchmarks/serve/load.py --layers 24 --name load-fixed --server-flags "--max-in-flight 8 --max-waiting 4"

Loads are set by the throughput of eight clients that each send their next request when the last one is answered. The goal
is, at 2 and 5 times it: at least 0.9 of what the server can do is answered, p99 of what is answered at most 3 times that of
a call alone. Machines change while they are measured, so a call alone, two clients that keep the server busy and never wait,
and every load take short turns, and a load's figures are divided by those of the same turn. What comes first, in which the
server notices that not all can be answered, is told apart.
"""

import math
import threading
import time
from collections import Counter
from statistics import fmean, stdev
from typing import Any

import bench
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import ClientError, Retry, SegHGANClient
from serving.client.bench import example

SIGNATURE = "serving_uint8"

ONSET_SECONDS, SETTLE_SECONDS = 5.0, 0.5
"""How long the first overload lasts, and how much of each turn's start is left out."""


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


def turn(address: str, capacity: float, seconds: float, times: list[float]) -> dict[str, Any]:
    """Measure a call alone, two busy clients, and each load, one after the other."""
    alone, busy = (bench.closed_loop(address, SIGNATURE, clients, 1, seconds) for clients in (1, 2))
    return {
        "alone": alone,
        "busy": busy,
        "loads": {f"{one:g}": overload(address, one * capacity, seconds) for one in times},
    }


def mean(values: list[float], form: str) -> str:
    """Return a mean and its standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{fmean(values):{form}} ± {error:{form}}"


def row(name: str, turns: list[dict[str, Any]]) -> str:
    """Return a load's line of the table: means over turns, of its figures and of their ratios to those of the same turn."""
    loads = [each["loads"][name] for each in turns]
    shares = [
        load["answers_per_second"] / each["busy"]["requests_per_second"]
        for load, each in zip(loads, turns, strict=True)
    ]
    waits = [
        load["accepted"].get("p99_ms", math.nan) / each["alone"]["p99_ms"]
        for load, each in zip(loads, turns, strict=True)
    ]
    rate, refused = (fmean(load[key] for load in loads) for key in ("answers_per_second", "refused_share"))
    p50, p99 = (fmean(load["accepted"].get(key, math.nan) for load in loads) for key in ("p50_ms", "p99_ms"))
    refusal = fmean(load["refused"].get("p99_ms", 0.0) for load in loads)
    return (
        f"| {name} | {rate:.1f} | {mean(shares, '.3f')} | {p50:.1f} | {p99:.1f} | {mean(waits, '.2f')} "
        f"| {refused:.1%} | {refusal:.1f} |"
    )


def shown(result: dict[str, Any], times: list[float]) -> str:
    """Return the curve as a table."""
    head = "| load / capacity | answers a second | of the busy clients' | p50 ms | p99 ms | of a call alone's | refused | refused p99 ms |"
    lines = [head, "|---" * 8 + "|"]
    turns = [each for phase in result["phases"] for each in phase["turns"]]
    closed = {
        "one call at a time": [each["alone"] for each in turns],
        "two busy clients": [each["busy"] for each in turns],
    }
    closed[f"{result['clients']['clients']} clients, each waiting for its answer"] = [result["clients"]]
    for name, runs in closed.items():
        rate, p50, p99 = (fmean(run[key] for run in runs) for key in ("requests_per_second", "p50_ms", "p99_ms"))
        lines.append(f"| {name} | {rate:.1f} | | {p50:.1f} | {p99:.1f} | | | |")
    for phase in result["phases"]:
        lines += [row(f"{one:g}", phase["turns"]) for one in times if f"{one:g}" in phase["turns"][0]["loads"]]
        if phase["onset"]:
            percentile = phase["onset"]["accepted"].get("p99_ms", math.nan)
            lines.append(f"| {max(times):g}, the first {ONSET_SECONDS:g} seconds | | | | {percentile:.1f} | | | |")
    return "\n".join(lines)


def main() -> None:
    """Measure, save, and print the curve."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement of a turn")
    parser.add_argument("--turns", type=int, default=12, help="turns")
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 0.7, 1, 1.5, 2, 3, 5], help="loads / capacity")
    parser.add_argument("--clients", type=int, default=8, help="clients whose answers a second are the capacity")
    parser.add_argument("--server-flags", default="", help="flags of the server")
    parser.add_argument("--name", default="load", help="name of the result")
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder, *arguments.server_flags.split(), cores=bench.apart(arguments.together))
        bench.closed_loop(server.address, SIGNATURE, 1, 1, 1.0)
        clients = bench.closed_loop(server.address, SIGNATURE, arguments.clients, 1, 4 * arguments.seconds)
        capacity, phases = clients["requests_per_second"], []
        for above in (False, True):  # first what can be answered: after an overload nobody waits for a time
            times = [one for one in arguments.times if (one > 1) is above]
            if times:
                onset = overload(server.address, max(times) * capacity, ONSET_SECONDS) if above else None
                turns = [turn(server.address, capacity, arguments.seconds, times) for _ in range(arguments.turns)]
                phases.append({"onset": onset, "turns": turns})
        result: dict[str, Any] = {"clients": clients, "phases": phases, "recovery_seconds": recovery(server.address)}
        result |= {"rss_kb": server.rss(), "exit_code": server.stop()}
        bench.save(arguments.name, arguments, export, result)
    print(shown(result, arguments.times))


if __name__ == "__main__":
    main()
