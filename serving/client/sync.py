"""The client for threads: the asyncio client's code over a blocking connection. One client may be used by many threads."""

from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import numpy as np

from serving.client import talk
from serving.client.aio import AsyncSegHGANClient, EditOptions
from serving.client.channel import TLS, Retry
from serving.client.inputs import Image, batches
from serving.client.talk import Reply, Served

T = TypeVar("T")


class _Blocking(AsyncSegHGANClient):
    """The client whose coroutines never wait for a loop: calls block the thread. The channel is opened once and kept."""

    def __init__(self, target: str, tls: TLS | None, model: str, **options: Any) -> None:
        super().__init__(target, tls, model, **options)
        self._channel = self._open(grpc)

    async def _send(self, method: str, request: Any, timeout: float) -> tuple[Any, Any]:
        serialize = type(request).SerializeToString
        made = self._channel.unary_unary(method, serialize, talk.REPLIES[method].FromString)
        reply, call = made.with_call(request, timeout=timeout)
        return reply, call.trailing_metadata()

    async def close(self) -> None:
        self._channel.close()


def _now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a blocking call waited for an event loop")


class SegHGANClient:
    """Edits, segments and analyzes faces on a server; see `AsyncSegHGANClient` for the arguments.

    Threads may share one client.

        with SegHGANClient("localhost:8500") as client:
            smile = client.edit(open("me.jpg", "rb").read(), client.analyze(photo) * 1.5, regions=["mouth"])
    """

    def __init__(
        self,
        target: str,
        tls: TLS | None = None,
        model: str = "seghgan",
        *,
        version: int | None = None,
        label: str | None = None,
        canary: float | None = None,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008  # immutable
    ) -> None:
        choice = {"version": version, "label": label, "canary": canary}
        self._client = _Blocking(target, tls, model, timeout=timeout, retry=retry, **choice)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        _now(self._client.close())

    def served(self, key: str | None = "") -> Served:
        """Return the version and signatures of the model; asked for again once another version has answered."""
        return _now(self._client.served(key))

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        outputs: Sequence[str] = (),
        key: str | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Run a signature as it is; `outputs` limits what comes back."""
        return _now(self._client.predict(signature, inputs, outputs=outputs, key=key, timeout=timeout))

    def edit(
        self, image: Image, expression: Any, regions: Sequence[str] | None = None, **options: Unpack[EditOptions]
    ) -> Any:
        """Return the image with another expression, in the kind it was given; see `AsyncSegHGANClient.edit`."""
        return _now(self._client.edit(image, expression, regions, **options))

    def edit_many(
        self,
        images: Iterable[Image],
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        batch_size: int = 4,
        in_flight: int = 4,
        **options: Unpack[EditOptions],
    ) -> Iterator[Any]:
        """Yield the edited images in order, reading at most `in_flight` batches ahead; see `AsyncSegHGANClient.edit_many`."""

        def edited(batch: Sequence[Image]) -> list[Any]:
            return _now(self._client._edit(batch, expression, regions, **options))

        with ThreadPoolExecutor(in_flight) as pool:
            running: deque[Future[list[Any]]] = deque()
            try:
                for batch in batches(images, batch_size, self.served(options.get("key") or "")):
                    running.append(pool.submit(edited, batch))
                    if len(running) >= in_flight:
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
            finally:
                for future in running:
                    future.cancel()

    def segment(self, image: Image, *, key: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids (S, S) uint8 and soft region masks (S, S, R) float32 in [0, 1] of an image."""
        return _now(self._client.segment(image, key=key))

    def analyze(self, image: Image, *, key: str | None = None) -> np.ndarray:
        """Return the expression (N,) float32 of a face: an array's, or that of the largest face of a photo."""
        return _now(self._client.analyze(image, key=key))

    def labels(self) -> tuple[str, ...]:
        """Return what each number of an expression stands for, as `AU12`; ModelNotFound where the export cannot tell."""
        return _now(self._client.labels())

    def status(self) -> dict[int, tuple[str, str]]:
        """Return each version's state (AVAILABLE and so on) and error text, newest first."""
        return _now(self._client.status())
