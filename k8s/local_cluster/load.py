"""Steady calls through SegHGANClient, as clients of the cluster make them, with every answer checked and counted."""

import threading
import time
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import numpy as np

from serving.client import ClientError, SegHGANClient

STRENGTH = {1: 0.5, 2: 0.25}
"""What each version of the stand-in model adds to a grey picture; another number is a wrong answer."""
KEYS = 200


class Call(NamedTuple):
    """One finished call; `version` is 0 where it failed."""

    start: float
    seconds: float
    key: str
    version: int
    wrong: bool
    error: str


class Load:
    """Clients that each send `rate` calls a second until `stop`; a share of keys asks for `canary`.

    gRPC lets the clients of one process share a connection to each Pod.
    """

    def __init__(self, target: str, size: int, clients: int = 4, rate: float = 5.0, canary: float = 0.1) -> None:
        self.calls: list[Call] = []
        self._target, self._rate, self._canary = target, rate, canary
        grey = np.zeros((1, size, size, 3), np.float32)
        self._inputs = {
            "image": grey,
            "expression": np.ones((1, 3), np.float32),
            "regions": np.array([[1, 0, 0, 0]], np.float32),
        }
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        with SegHGANClient(self._target, canary=self._canary) as client:
            step = 0
            while not self._stopped.wait(1 / self._rate):
                step += 1
                self.calls.append(self._call(client, f"{number}-{step % KEYS}"))

    def _call(self, client: SegHGANClient, key: str) -> Call:
        start = time.monotonic()
        try:
            reply = client.predict("serving_default", self._inputs, key=key)
        except ClientError as error:
            return Call(start, time.monotonic() - start, key, 0, False, str(error))
        values = reply.outputs["edited"]
        right = np.allclose(values, STRENGTH.get(reply.version, np.nan), atol=0.01)
        return Call(start, time.monotonic() - start, key, reply.version, not right, "")

    def stop(self) -> None:
        """Stop sending."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def since(self, start: float, end: float = float("inf")) -> dict[str, Any]:
        """Return what became of the calls sent between two times of `time.monotonic`."""
        calls = [one for one in list(self.calls) if start <= one.start < end]
        seconds = [one.seconds for one in calls] or [0.0]
        points = np.percentile(seconds, (50, 99, 100)) * 1e3
        versions = Counter(one.version for one in calls if one.version)
        answered: dict[str, set[int]] = defaultdict(set)
        for one in calls:
            answered[one.key] |= {one.version} if one.version else set()
        errors = Counter(one.error for one in calls if one.error)
        return {
            "calls": len(calls),
            "failed": sum(errors.values()),
            "errors": dict(errors.most_common(3)),
            "wrong_answers": sum(one.wrong for one in calls),
            "by_version": {str(version): count for version, count in sorted(versions.items())},
            "keys_with_two_versions": sum(len(one) > 1 for one in answered.values()),
            **{
                name: round(float(point), 1)
                for name, point in zip(("p50_ms", "p99_ms", "longest_ms"), points, strict=True)
            },
        }
