"""The client for any server of the export contract, TensorFlow Serving or the embedded one; needs no TensorFlow.

Everything is written here, for asyncio. `serving.client.sync` runs the same code over a blocking connection.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypedDict, Unpack

import grpc
import numpy as np

from serving import messages
from serving.client import talk
from serving.client.channel import TLS, Retry, channel_options
from serving.client.errors import InvalidRequest, typed
from serving.client.inputs import EditInputs, Image, analyze_request, analyzed, batches, pixels
from serving.client.talk import Asked, Choice, Reply, Served


class EditOptions(TypedDict, total=False):
    """What else an edit takes: `jpeg_quality` 1 to 100 asks for a JPEG; `key` names the user of a canary; `timeout` is in seconds."""

    jpeg_quality: int
    key: str | None
    timeout: float | None


class AsyncSegHGANClient:
    """Edits, segments and analyzes faces on a server, for asyncio.

    `target` is `host:port` or `dns:///host:port`, whose addresses are used in turn. `version` or `label` chooses a
    version for all calls; `canary` is the share of `key`s that get the label `canary` and the rest `stable`. `timeout`
    bounds a method in seconds, with all that it asks the server and retries; each method takes its own. Every method raises a `ClientError` of a kind that says
    what to do, and ValueError for arguments that do not fit the model.

    `hedge` sends a prediction a second time where no answer came within that many seconds and takes the first answer;
    one such call is on its way at a time. None, the default, never does.

        async with AsyncSegHGANClient("dns:///faces:8500") as client:
            edited = await client.edit(photo, expression, regions=["mouth"])
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
        hedge: float | None = None,
    ) -> None:
        self.target, self.model, self.timeout = target, model, timeout
        self._choice, self._hedge = Choice(version, label, canary), hedge
        self._options, self._tls = channel_options(target, tls, retry), tls
        self._known: dict[Asked, Served] = {}
        self._channel: Any = None
        self._hedging = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self, grpc_form: Any) -> Any:
        """Return a channel of `grpc` or `grpc.aio`."""
        if self._tls is None:
            return grpc_form.insecure_channel(self.target, self._options)
        return grpc_form.secure_channel(self.target, self._tls.credentials(), self._options)

    async def _send(self, method: str, request: Any, timeout: float) -> tuple[Any, Any]:
        """Return the reply's message and trailing metadata; grpc.RpcError where there is none."""
        if self._channel is None:  # here, because it belongs to the loop that runs now
            self._channel = self._open(grpc.aio)

        async def attempt(timeout: float) -> tuple[Any, Any]:
            serialize = type(request).SerializeToString
            made = self._channel.unary_unary(method, serialize, talk.REPLIES[method].FromString)
            call = made(request, timeout=timeout)
            return await call, await call.trailing_metadata()

        first = asyncio.ensure_future(attempt(timeout))
        if self._hedge is None or method != talk.PREDICT or self._hedging:
            return await first
        running = {first}
        try:
            done, running = await asyncio.wait(running, timeout=self._hedge)
            if not done and not self._hedging:
                self._hedging = True
                running.add(asyncio.ensure_future(attempt(max(timeout - self._hedge, 0.001))))
            while running and not any(one.exception() is None for one in done):
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return min(done, key=lambda one: one.exception() is not None).result()
        finally:
            self._hedging = False
            for one in running:
                one.cancel()

    def _end(self, timeout: float | None) -> float:
        """Return when, on `time.monotonic`'s clock, a method that begins now is to be done."""
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    async def _call(self, method: str, request: Any, end: float) -> tuple[Any, str]:
        try:
            reply, trailing = await self._send(method, request, max(end - time.monotonic(), 0.0))
        except grpc.RpcError as error:
            raise typed(error, self.target) from None
        return reply, next((value for key, value in trailing or () if key == "x-served-by"), "")

    async def served(self, key: str | None = "", *, timeout: float | None = None) -> Served:
        """Return the version and signatures of the model; asked for again once another version has answered."""
        return await self._served(self._choice.of(key), self._end(timeout))

    async def _served(self, asked: Asked, end: float) -> Served:
        if asked not in self._known:
            reply, _ = await self._call(talk.METADATA, talk.metadata_request(self.model, asked), end)
            self._known[asked] = talk.parse_metadata(reply)
        return self._known[asked]

    async def _predict(
        self,
        signature: Callable[[Served], tuple[str, Mapping[str, np.ndarray], Sequence[str]]],
        key: str | None,
        timeout: float | None = None,
    ) -> Reply:
        """Run what `signature` makes (name, inputs, outputs) for the served model; again where that was another one meanwhile."""
        asked, end = self._choice.of(key), self._end(timeout)
        while True:
            served = await self._served(asked, end)
            try:
                name, inputs, outputs = signature(served)
                request = talk.predict_request(self.model, name, inputs, asked, outputs)
                talk.check_size(request, served)
                reply = talk.parse_prediction(*await self._call(talk.PREDICT, request, end))
            except (ValueError, InvalidRequest):
                self._known.pop(asked, None)
                if (await self._served(asked, end)).signatures == served.signatures:
                    raise
            else:
                if reply.version != served.version:
                    self._known.pop(asked, None)
                return reply

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        outputs: Sequence[str] = (),
        key: str | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Run a signature as it is; `outputs` limits what comes back."""
        return await self._predict(lambda _: (signature, inputs, outputs), key, timeout)

    async def edit(
        self, image: Image, expression: Any, regions: Sequence[str] | None = None, **options: Unpack[EditOptions]
    ) -> Any:
        """Return the image with another expression, in the kind it was given: bytes, PIL image or array.

        `expression` is the absolute target. `regions` limits what may change (None: everything). File bytes come back
        as PNG, as JPEG where `jpeg_quality` is 1 to 100, with the mark of an edited picture (`seghgan_tf.saving.with_mark`).
        """
        return (await self._edit([image], expression, regions, **options))[0]

    async def _edit(
        self, images: Sequence[Image], expression: Any, regions: Sequence[str] | None, **options: Unpack[EditOptions]
    ) -> list[Any]:
        edit = EditInputs(images, expression, regions, options.get("jpeg_quality", 0))
        reply = await self._predict(edit.request, options.get("key"), options.get("timeout"))
        return edit.results(reply.outputs)

    async def edit_many(
        self,
        images: Iterable[Image],
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        batch_size: int = 4,
        in_flight: int = 4,
        **options: Unpack[EditOptions],
    ) -> AsyncIterator[Any]:
        """Yield the edited images in order, reading at most `in_flight` batches ahead of what is consumed.

        `expression` is one row for all. Images of one batch are of one kind; a change of kind ends the batch. `timeout` is a
        batch's.
        """
        running: deque[asyncio.Task[list[Any]]] = deque()
        try:
            served = await self.served(options.get("key") or "", timeout=options.get("timeout"))
            for batch in batches(images, batch_size, served):
                running.append(asyncio.create_task(self._edit(batch, expression, regions, **options)))
                if len(running) >= in_flight:
                    for edited in await running.popleft():
                        yield edited
            while running:
                for edited in await running.popleft():
                    yield edited
        finally:
            for task in running:
                task.cancel()

    async def segment(
        self, image: Image, *, key: str | None = None, timeout: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids (S, S) uint8 and soft region masks (S, S, R) float32 in [0, 1] of an image."""

        def request(of: Served) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
            return "segment", {"image": pixels(image, of.image_size)[None]}, ()

        reply = await self._predict(request, key, timeout)
        return reply.outputs["labels"][0], reply.outputs["regions"][0]

    async def analyze(self, image: Image, *, key: str | None = None, timeout: float | None = None) -> np.ndarray:
        """Return the expression (N,) float32 of a face: an array's, or that of the largest face of a photo."""
        return analyzed((await self._predict(lambda served: analyze_request(image, served), key, timeout)).outputs)

    async def labels(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Return what each number of an expression stands for, as `AU12`; ModelNotFound where the export cannot tell."""
        reply = await self._predict(lambda served: ("labels", talk.labels_inputs(served), ()), "", timeout)
        return tuple(label.decode() for label in reply.outputs["labels"][0])

    async def status(self, *, timeout: float | None = None) -> dict[int, tuple[str, str]]:
        """Return each version's state (AVAILABLE and so on) and error text, newest first."""
        request = messages.GetModelStatusRequest()
        request.model_spec.name = self.model
        return talk.parse_status((await self._call(talk.STATUS, request, self._end(timeout)))[0])
