"""What an engine does now, as gauges that Prometheus reads."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from serving.server.metrics import gauge

if TYPE_CHECKING:
    from serving.server.engine import Engine


def gauges(engine: "Engine") -> Iterator[Metric]:
    """Yield what the engine does now, read at every scrape."""
    watching = "0 once new versions and labels are not looked for any more."
    for name, text, value in (
        ("seghgan_in_flight", "Requests that run now.", engine.admission.inside),
        ("seghgan_limit", "Requests that may run at once now.", engine.admission.limit.now),
        ("seghgan_waiting", "Requests that wait for a place.", engine.admission.queued),
        ("seghgan_ready", "1 while every model and label answers.", engine.ready()),
        ("seghgan_held_bytes", "Memory that requests hold while they are read and photos edited.", engine.memory.held),
        ("seghgan_waiting_for_memory", "Requests that wait for memory.", engine.memory.waiting),
        ("seghgan_watching", watching, engine.watcher.alive),
    ):
        yield gauge(name, text, [], [((), float(value))])
    names = engine.models.names
    states = [((name, str(v.version)), float(v.state)) for name in names for v in engine.models.versions(name)]
    yield gauge("seghgan_version_state", "State of a version (30 is AVAILABLE).", ["model", "version"], states)
    failed = [((name, str(v.version)), float(bool(v.message))) for name in names for v in engine.models.versions(name)]
    yield gauge("seghgan_version_failed", "1 where a version could not be loaded.", ["model", "version"], failed)
    sizes = [
        ((name, str(version), key, str(size)), float(count))
        for name in names
        for (version, key, size), count in engine.models.examples(name).items()
    ]
    yield gauge(
        "seghgan_batched_examples",
        "Examples run, by the size of the batch they ran in (padding included).",
        ["model", "version", "signature", "batch_size"],
        sizes,
    )
