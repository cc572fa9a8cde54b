"""The curve of load: from half of capacity to five times it, what is answered, how fast, and what is refused.

python benchmarks/serve/load.py --export exports --name load-portrait-128
python benchmarks/serve/load.py --layers 24 --name load-fixed --server-flags "--max-in-flight 8 --max-waiting 4"

Capacity is the throughput of eight clients that each send their next request when the last one is answered. The goal is,
at 2 and 5 times it: at least 0.9 of it answered, p99 of what is answered at most 3 times that of a call alone.
Machines change while they are measured, so all take short turns: a call alone, and before every load the clients, by whose
answers a second that load's are divided. The server remembers an overload for half a minute, so the loads above capacity go
to a second one on the same cores, which does nothing while the first one works. A minute of each such load follows from
rest, its first call included.
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
from serving.server.admission import OVERLOAD_SECONDS

SIGNATURE = "serving_uint8"

SETTLE_SECONDS = 0.5
"""How much of each turn's start is left out: the server's other half has worked until then."""


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


def overload(address: str, rate: float, seconds: float, settle: float = 0.0) -> dict[str, Any]:
    """Send at a rate above capacity while health is asked for."""
    stop, outcomes = threading.Event(), Counter()
    prober = threading.Thread(target=probe, args=(address, stop, outcomes))
    prober.start()
    result = bench.open_loop(address, rate, seconds, SIGNATURE, settle=settle)
    stop.set()
    prober.join()
    serving = outcomes.pop(health_pb2.HealthCheckResponse.SERVING, 0)
    return result | {"health": {"SERVING": serving, **{str(key): count for key, count in outcomes.items()}}}


def turn(calm: str, loaded: str, clients: int, capacity: float, seconds: float, times: list[float]) -> dict[str, Any]:
    """Measure a call alone, and each load after the clients, one after the other."""
    alone, loads = bench.closed_loop(calm, SIGNATURE, 1, 1, seconds), {}
    for one in times:
        together = bench.closed_loop(calm, SIGNATURE, clients, 1, seconds)
        load = overload(calm if one < 1 else loaded, one * capacity, seconds, SETTLE_SECONDS)
        loads[f"{one:g}"] = load | {"clients": together}
    return {"alone": alone, "loads": loads}


def from_rest(address: str, rate: float, seconds: float) -> dict[str, Any]:
    """Measure a load once the server has forgotten the last one, and how long it takes to answer a call again."""
    time.sleep(OVERLOAD_SECONDS + 1)
    return overload(address, rate, seconds) | {"recovery_seconds": round(recovery(address), 3)}


def mean(values: list[float], form: str) -> str:
    """Return a mean and its standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{fmean(values):{form}} ± {error:{form}}"


def row(name: str, turns: list[dict[str, Any]]) -> str:
    """Return a load's line of the table: means over turns, of its figures and of their ratios to those of the clients and of a call alone."""
    loads = [each["loads"][name] for each in turns]
    shares = [load["answers_per_second"] / load["clients"]["requests_per_second"] for load in loads]
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


def shown(result: dict[str, Any], clients: int) -> str:
    """Return the curve as a table."""
    turns, alone = result["turns"], fmean(each["alone"]["p99_ms"] for each in result["turns"])
    lines = [
        "| load / capacity | answers a second | / capacity | p50 ms | p99 ms | p99 / alone | refused | refused p99 ms |"
    ]
    lines.append("|---" * 8 + "|")
    together = [load["clients"] for each in turns for load in each["loads"].values()]
    for name, runs in (
        ("one call at a time", [each["alone"] for each in turns]),
        (f"{clients} clients, each waiting for its answer", together),
    ):
        rate, p50, p99 = (fmean(run[key] for run in runs) for key in ("requests_per_second", "p50_ms", "p99_ms"))
        lines.append(f"| {name} | {rate:.1f} | | {p50:.1f} | {p99:.1f} | {p99 / alone:.2f} | | |")
    lines += [row(name, turns) for name in turns[0]["loads"]]
    for name, load in result["from_rest"].items():
        p50, p99 = load["accepted"]["p50_ms"], load["accepted"]["p99_ms"]
        lines.append(
            f"| {name}, a minute from rest | {load['answers_per_second']:.1f} | | {p50:.1f} | {p99:.1f} | {p99 / alone:.2f} "
            f"| {load['refused_share']:.1%} | {load['refused']['p99_ms']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, save, and print the curve."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement of a turn")
    parser.add_argument("--turns", type=int, default=12, help="turns")
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 0.7, 1, 1.5, 2, 3, 5], help="loads / capacity")
    parser.add_argument("--clients", type=int, default=8, help="clients whose answers a second are the capacity")
    parser.add_argument("--server-flags", default="", help="flags of the servers")
    parser.add_argument("--name", default="load", help="name of the result")
    given = parser.parse_args()
    with bench.workplace(given) as (folder, export):
        flags, cores = given.server_flags.split(), bench.apart(given.together)
        calm, loaded = (bench.Server(export, folder, *flags, cores=cores) for _ in range(2))
        for server in (calm, loaded):
            bench.closed_loop(server.address, SIGNATURE, 1, 1, 1.0)
        clients = bench.closed_loop(calm.address, SIGNATURE, given.clients, 1, 4 * given.seconds)
        capacity = clients["requests_per_second"]
        overload(loaded.address, max(given.times) * capacity, 4 * SETTLE_SECONDS)
        turns = [
            turn(calm.address, loaded.address, given.clients, capacity, given.seconds, given.times)
            for _ in range(given.turns)
        ]
        above = {f"{one:g}": from_rest(loaded.address, one * capacity, 60.0) for one in given.times if one > 1}
        result = {"capacity": capacity, "turns": turns, "from_rest": above, "rss_kb": calm.rss()}
        result |= {"exit_codes": [server.stop() for server in (calm, loaded)]}
        bench.save(given.name, given, export, result)
    print(shown(result, given.clients))


if __name__ == "__main__":
    main()
