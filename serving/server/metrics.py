"""Prometheus metrics: TensorFlow Serving's names, and ours with version, signature, queue time, shed count, batch size."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from serving import messages
from serving.server.settings import read_message

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/monitoring/prometheus/metrics"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MICROSECONDS = tuple(10 * 1.8**i for i in range(33))


class Outcome(NamedTuple):
    """One finished request; `model`, `version` and `signature` are empty where it never reached them."""

    model: str
    version: str
    signature: str
    protocol: str
    code: str
    seconds: float
    queue_seconds: float
    examples: int


class _Live:
    """Values that are read when they are scraped."""

    def __init__(self, counts: dict[tuple[str, str], int], gauges: Callable[[], Iterable[Metric]]) -> None:
        self._counts = counts
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        served = Metric(":tensorflow:serving:request_count", "The total number of requests.", "unknown")
        for (model, status), count in list(self._counts.items()):
            served.add_sample(served.name, {"model_name": model, "status": status}, count)
        yield served
        yield from self._gauges()


class Metrics:
    """The metrics of one server; `gauges` yields families that are read at every scrape."""

    def __init__(self, package_version: str, gauges: Callable[[], Iterable[Metric]] = lambda: ()) -> None:
        self.registry = CollectorRegistry()
        self._counts: dict[tuple[str, str], int] = {}
        which = ["model", "version", "signature"]
        build = Gauge(
            "seghgan_build_info",
            "What answers: always the embedded server.",
            ["server", "version"],
            registry=self.registry,
        )
        build.labels("embedded", package_version).set(1)
        self._requests = Counter(
            "seghgan_requests", "Requests by outcome.", [*which, "protocol", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "seghgan_request_seconds", "Time from arrival to answer.", which, buckets=_SECONDS, registry=self.registry
        )
        self._queue = Histogram(
            "seghgan_queue_seconds", "Time spent waiting for a place.", which, buckets=_SECONDS, registry=self.registry
        )
        self._examples = Histogram(
            "seghgan_request_examples",
            "Examples in a request.",
            which,
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        shed = Counter(
            "seghgan_shed", "Requests turned away before they ran.", ["code", "protocol"], registry=self.registry
        )
        self._shed = cache(shed.labels)
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds).",
            ["model_name", "API", "entrypoint"],
            buckets=_MICROSECONDS,
            registry=self.registry,
        )
        self.registry.register(_Live(self._counts, gauges))  # type: ignore[arg-type]

    def finished(self, outcome: Outcome) -> None:
        """Count a request that was let in."""
        which = (outcome.model, outcome.version, outcome.signature)
        self._requests.labels(*which, outcome.protocol, outcome.code).inc()
        if outcome.model:
            key = (outcome.model, outcome.code)
            self._counts[key] = self._counts.get(key, 0) + 1
            self._seconds.labels(*which).observe(outcome.seconds)
            self._queue.labels(*which).observe(outcome.queue_seconds)
            self._examples.labels(*which).observe(outcome.examples)
            entry = "GRPC" if outcome.protocol == "grpc" else "REST"
            self._latency.labels(outcome.model, "Predict", entry).observe(outcome.seconds * 1e6)

    def shed(self, code: str, protocol: str) -> None:
        """Count a request that was turned away."""
        self._shed(code, protocol).inc()

    def render(self) -> bytes:
        """Return the text that Prometheus reads, of `CONTENT_TYPE`."""
        return generate_latest(self.registry)


def gauge(name: str, text: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """Return a gauge family of rows (label values, value)."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def metrics_path(config_file: Path | None) -> str | None:
    """Return the path that a `monitoring.config` gives the metrics, None where it shows none."""
    if config_file is None:
        return None
    parsed = read_message(config_file, messages.MonitoringConfig, "monitoring_config_file")
    return (parsed.prometheus_config.path or PATH) if parsed.prometheus_config.enable else None
