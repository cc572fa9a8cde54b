"""Closed-loop load on a server: a number of clients, each sending its next request when the last one is answered."""

import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from serving.client.errors import ClientError
from serving.client.sync import SegHGANClient
from serving.client.talk import Served
from serving.signature import EXAMPLES


def example(served: Served, signature: str, batch: int) -> dict[str, np.ndarray]:
    """Return inputs for a signature; ValueError where the model has no such signature."""
    if signature not in served.signatures:
        raise ValueError(f"`signature` must be one of {sorted(served.signatures)}. Received: {signature}")
    inputs: dict[str, np.ndarray] = {}
    random = np.random.default_rng(0)
    for name, spec in served.signatures[signature].inputs.items():
        shape = (batch, *(size or 1 for size in spec.shape[1:]))
        if spec.dtype == "bytes":
            inputs[name] = np.full(batch, _photo(served.image_size, random), object)
        elif spec.dtype == "uint8":
            inputs[name] = random.integers(0, 256, shape, np.uint8)
        elif name == "image":
            inputs[name] = random.random(shape, np.float32)
        else:
            inputs[name] = np.full(shape, EXAMPLES[name], spec.dtype)
    return inputs


def _photo(size: int, random: np.random.Generator) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def measure(client: SegHGANClient, signature: str, clients: int, batch: int, seconds: float) -> dict[str, Any]:
    """Return requests and images a second, latency percentiles in ms and the count of each error, after 0.5 s of warmup."""
    latencies: list[float] = []
    errors: Counter[str] = Counter()
    inputs = example(client.served(), signature, batch)
    begin = time.monotonic() + 0.5
    end = begin + seconds

    def load() -> None:
        while (start := time.monotonic()) < end:
            try:
                client.predict(signature, inputs)
            except ClientError as error:
                errors[error.code.name] += 1
                time.sleep(0.01)
            else:
                if start >= begin:
                    latencies.append(time.monotonic() - start)

    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points = np.percentile(latencies, (50, 90, 99)) * 1e3 if latencies else np.full(3, np.nan)
    return {
        "signature": signature,
        "clients": clients,
        "batch": batch,
        "requests": len(latencies),
        "requests_per_second": round(len(latencies) / seconds, 1),
        "images_per_second": round(len(latencies) * batch / seconds, 1),
        "p50_ms": round(float(points[0]), 2),
        "p90_ms": round(float(points[1]), 2),
        "p99_ms": round(float(points[2]), 2),
        "errors": dict(errors),
    }
