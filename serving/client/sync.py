"""The client for threads: the asyncio client's code over a blocking connection. One client may be used by many threads."""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import grpc

from serving.client import talk
from serving.client.aio import AsyncSegHGANClient, EditOptions
from serving.client.channel import TLS, Retry
from serving.client.inputs import Image, batches

P = ParamSpec("P")
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
        """Close the connections."""
        self._channel.close()


def _now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a blocking call waited for an event loop")


def _blocking(
    method: Callable[Concatenate[_Blocking, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SegHGANClient", P], T]:
    """Return a method of the asyncio client as one that blocks, with its signature and docstring."""

    @wraps(method)
    def call(self: "SegHGANClient", /, *args: P.args, **named: P.kwargs) -> T:
        return _now(method(self._client, *args, **named))

    return call


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
        options: dict[str, Any] = {"version": version, "label": label, "canary": canary, "timeout": timeout}
        self._client = _Blocking(target, tls, model, retry=retry, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = _blocking(_Blocking.close)
    served = _blocking(_Blocking.served)
    predict = _blocking(_Blocking.predict)
    edit = _blocking(_Blocking.edit)
    segment = _blocking(_Blocking.segment)
    analyze = _blocking(_Blocking.analyze)
    labels = _blocking(_Blocking.labels)
    status = _blocking(_Blocking.status)

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

        served = self.served(options.get("key") or "", timeout=options.get("timeout"))
        with ThreadPoolExecutor(in_flight) as pool:
            running: deque[Future[list[Any]]] = deque()
            try:
                for batch in batches(images, batch_size, served):
                    running.append(pool.submit(edited, batch))
                    if len(running) >= in_flight:
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
            finally:
                for future in running:
                    future.cancel()
