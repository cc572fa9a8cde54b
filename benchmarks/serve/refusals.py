"""What a refusal costs the server: processor time above that of the answers that it gives beside.

python benchmarks/serve/refusals.py --export exports

One request runs at a time and none waits. A round measures the time of an answer with one client that waits for each,
then sends many more a second than can be answered; medians of the rounds are given.
"""

import time
from statistics import median

import bench

SIGNATURE = "serving_uint8"


def main() -> None:
    """Measure and save."""
    parser = bench.parser(__doc__, exports=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each half of a round")
    parser.add_argument("--rate", type=float, default=200.0, help="requests sent a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="refusals", help="name of the result")
    arguments = parser.parse_args()
    with bench.workplace(arguments) as (folder, export):
        flags, cores = ("--max-in-flight", "1", "--max-waiting", "0"), bench.apart(arguments.together)
        server = bench.Server(export, folder, *flags, cores=cores)
        bench.closed_loop(server.address, SIGNATURE, 1, 1, 1.0)
        rounds = []
        for _ in range(arguments.rounds):
            begin, start = bench.cpu_seconds(server.process.pid), time.monotonic()
            alone = bench.closed_loop(server.address, SIGNATURE, 1, 1, arguments.seconds)
            alone_answers = alone["requests_per_second"] * (time.monotonic() - start)
            middle = bench.cpu_seconds(server.process.pid)
            load = bench.open_loop(server.address, arguments.rate, arguments.seconds, SIGNATURE)
            end = bench.cpu_seconds(server.process.pid)
            answered, refused = load["codes"].get("OK", 0), load["codes"].get("RESOURCE_EXHAUSTED", 0)
            answer = (middle - begin) / alone_answers
            cost = (end - middle - answered * answer) / max(refused, 1)
            rounds.append({"answer_ms": answer * 1e3, "refusal_ms": cost * 1e3, "load": load})
        server.stop()
        medians = {key: round(median(one[key] for one in rounds), 3) for key in ("answer_ms", "refusal_ms")}
        bench.save(arguments.name, arguments, export, medians | {"rounds": rounds})


if __name__ == "__main__":
    main()
