"""Seeded mutations of good requests over both protocols, and cancelled calls: the server stays up, in memory and threads.

python benchmarks/serve/abuse.py --mutations 20000 --rest-mutations 20000 --cancels 500 --seed 2112
"""

import base64
import http.client
import json
import time
from collections import Counter
from pathlib import Path

import bench
import grpc
import numpy as np

from serving.client import SegHGANClient, talk
from serving.client.bench import example


def threads(pid: int) -> int:
    """Return the number of a process's threads."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def mutate(seed: bytes, random: np.random.Generator) -> bytes:
    """Change, drop or insert bytes at up to seven places, mostly in the head where the structure is."""
    raw = bytearray(seed)
    for _ in range(random.integers(1, 8)):
        reach = len(raw) if random.random() < 0.2 else min(len(raw), 300)
        place = int(random.integers(reach))
        raw[place : place + int(random.integers(0, 4))] = random.bytes(int(random.integers(0, 4)))
    return bytes(raw)


def rest_seeds(served: talk.Served) -> list[bytes]:
    """Good bodies for every signature, as column and, for photos, as row format."""
    seeds = []
    for name in served.signatures:
        inputs = {}
        for key, value in example(served, name, 1).items():
            whole = value.dtype != object
            inputs[key] = value.tolist() if whole else [{"b64": base64.b64encode(one).decode()} for one in value]
        seeds.append(json.dumps({"signature_name": name, "inputs": inputs}).encode())
        rows = [{key: value[0] for key, value in inputs.items()}]
        seeds.append(json.dumps({"signature_name": name, "instances": rows}).encode())
    return seeds


def rest_codes(port: int, seeds: list[bytes], count: int, random: np.random.Generator) -> Counter[int]:
    """Send mutated bodies and count the HTTP codes; 0 is a connection that ended without an answer."""
    codes: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(count):
        try:
            body = mutate(seeds[int(random.integers(len(seeds)))], random)
            connection.request("POST", "/v1/models/seghgan:predict", body)
            reply = connection.getresponse()
            reply.read()
            codes[reply.status] += 1
        except (OSError, http.client.HTTPException):
            codes[0] += 1
            connection.close()
    connection.close()
    return codes


def cancel(call: grpc.UnaryUnaryMultiCallable, request: bytes, count: int) -> Counter[str]:
    """Start calls and cancel them, every other one after a millisecond, and count how they ended."""
    futures = []
    for i in range(count):
        futures.append(call.future(request, timeout=5))
        if not i % 2:
            time.sleep(0.001)
        futures[-1].cancel()
    return Counter(future.code().name for future in futures)


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__)
    parser.set_defaults(size=32, layers=0)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--rest-mutations", type=int, default=20_000)
    parser.add_argument("--cancels", type=int, default=500)
    parser.add_argument(
        "--rounds", type=int, default=4, help="rounds of cancelled calls; the first fills the thread pool"
    )
    parser.add_argument("--seed", type=int, default=2112)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    with bench.workplace(arguments) as (folder, export):
        server = bench.Server(export, folder, "--log-level", "error", "--rest-port", "0")
        with SegHGANClient(server.address) as client, grpc.insecure_channel(server.address) as channel:
            served = client.served()
            seeds = [
                talk.predict_request("seghgan", name, example(served, name, 1)).SerializeToString()
                for name in served.signatures
            ]
            call = channel.unary_unary(talk.PREDICT)
            codes: Counter[str] = Counter()
            memory = []
            for i in range(arguments.mutations):
                try:
                    call(mutate(seeds[int(random.integers(len(seeds)))], random), timeout=30)
                    codes["OK"] += 1
                except grpc.RpcError as error:
                    codes[error.code().name] += 1
                if i % (arguments.mutations // 10) == 0:
                    memory.append(server.rss())
            memory.append(server.rss())
            http_codes = rest_codes(server.rest_port, rest_seeds(served), arguments.rest_mutations, random)
            memory.append(server.rss())
            outcomes: Counter[str] = Counter()
            counted = [threads(server.process.pid)]
            for _ in range(arguments.rounds):
                outcomes += cancel(call, seeds[0], arguments.cancels)
                time.sleep(1.0)
                counted.append(threads(server.process.pid))
            alive = client.analyze(np.zeros((arguments.size, arguments.size, 3), np.uint8)).shape == (
                served.expression_size,
            )
        code = server.stop()
    result = {
        "seed": arguments.seed,
        "mutations": arguments.mutations,
        "codes": dict(codes),
        "rest_mutations": arguments.rest_mutations,
        "rest_codes": {str(code): count for code, count in sorted(http_codes.items())},
        "rss_kb": memory,
        "cancels": arguments.cancels,
        "outcomes": dict(outcomes),
        "threads_before_and_after_each_round": counted,
        "answers_afterwards": alive,
        "exit_code": code,
    }
    bench.save("abuse", arguments, export, result)


if __name__ == "__main__":
    main()
