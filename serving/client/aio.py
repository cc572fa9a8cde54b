"""The client for asyncio: the same calls as `serving.client.sync`, awaited."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np

from serving import messages, tensors
from serving.client import channel as calls
from serving.client.channel import TLS, Retry, Served
from serving.client.errors import ClientError, typed
from serving.client.inputs import Edit, Image, batches, pixels
from serving.client.sync import Reply


class AsyncSegHGANClient:
    """Edits, segments and analyzes faces on a server, for asyncio; see `SegHGANClient` for the arguments.

    `hedge` sends a call a second time where no answer came within that many seconds and takes the first answer; the
    hedge is paid from the retry budget. None, the default, never does.

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
        self._tls, self._choice, self._hedge = tls, calls.Choice(version, label, canary), hedge
        self._retries = calls.Retries(retry)
        self._channel: grpc.aio.Channel | None = None
        self._served: Served | None = None
        self._asking = asyncio.Lock()

    def _open(self, limit: int) -> grpc.aio.Channel:
        options = calls.channel_options(limit, self._tls)
        if self._tls is None:
            return grpc.aio.insecure_channel(self.target, options)
        return grpc.aio.secure_channel(self.target, self._tls.credentials(), options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._channel is not None:
            await self._channel.close()

    async def _attempt(self, method: str, request: Any, remaining: float) -> tuple[Any, str]:
        if self._channel is None:
            self._channel = self._open(4 << 20)
        call = self._channel.unary_unary(
            method,
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=calls.REPLIES[method].FromString,
        )(request, timeout=remaining)
        reply = await call
        trailing = {key: value for key, value in await call.trailing_metadata() or () if isinstance(value, str)}
        return reply, trailing.get("x-served-by", "")

    async def _hedged(self, method: str, request: Any, remaining: float) -> tuple[Any, str]:
        first = asyncio.ensure_future(self._attempt(method, request, remaining))
        running = {first}
        try:
            if self._hedge is not None and method == calls.PREDICT:
                done, _ = await asyncio.wait(running, timeout=self._hedge)
                if not done and self._retries.spend():
                    running.add(asyncio.ensure_future(self._attempt(method, request, remaining - self._hedge)))
            while True:
                done, pending = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                good = [one for one in done if one.exception() is None]
                if good or not pending:
                    return (good or list(done))[0].result()
                running = pending
        finally:
            for one in running:
                one.cancel()

    async def _call(self, method: str, request: Any, timeout: float | None = None) -> tuple[Any, str]:
        deadline = time.monotonic() + (timeout or self.timeout)
        for attempt in range(1, self._retries.retry.attempts + 1):
            remaining = max(deadline - time.monotonic(), 0.001)
            try:
                answer = await self._hedged(method, request, remaining)
            except grpc.RpcError as error:
                wait = self._retries.wait(error, attempt, deadline - time.monotonic())
                if wait is None:
                    raise typed(error, self.target) from None
                await asyncio.sleep(wait)
            else:
                self._retries.succeeded()
                return answer
        raise ClientError(f"{self.target}: no attempt was made")

    async def served(self) -> Served:
        """Return the version and signatures of the model, asked for once; message sizes follow from them."""
        async with self._asking:
            if self._served is None:
                request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
                calls.fill_spec(request.model_spec, self.model, *self._choice.of(""))
                served = calls.parse_metadata((await self._call(calls.METADATA, request))[0])
                small, self._channel = self._channel, self._open(served.message_bytes)
                if small is not None:
                    await small.close()
                self._served = served
            return self._served

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
        served = await self.served()
        request = calls.predict_request(self.model, signature, inputs, *self._choice.of(key), outputs)
        calls.check_size(request, served)
        reply, served_by = await self._call(calls.PREDICT, request, timeout)
        arrays = {name: tensors.decode(proto) for name, proto in reply.outputs.items()}
        return Reply(reply.model_spec.version.value, arrays, served_by)

    async def edit(
        self,
        image: Image,
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        jpeg_quality: int = 0,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return the image with another expression, in the kind it was given: bytes, PIL image or array."""
        return (await self._edit([image], Edit(expression, regions, jpeg_quality), key, timeout))[0]

    async def _edit(self, images: Sequence[Image], edit: Edit, key: str | None, timeout: float | None) -> list[Any]:
        signature, output, inputs = edit.request(images, await self.served())
        answer = await self.predict(signature, inputs, outputs=[output], key=key, timeout=timeout)
        return [edit.result(one, image) for one, image in zip(answer.outputs[output], images, strict=True)]

    async def edit_many(
        self,
        images: Iterable[Image],
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        batch_size: int = 4,
        in_flight: int = 4,
        jpeg_quality: int = 0,
        key: str | None = None,
    ) -> AsyncIterator[Any]:
        """Yield the edited images in order, reading at most `in_flight` batches ahead of what is consumed."""
        edit = Edit(np.asarray(expression, np.float32), regions, jpeg_quality)
        running: deque[asyncio.Task[list[Any]]] = deque()
        try:
            for batch in batches(images, batch_size, await self.served()):
                running.append(asyncio.create_task(self._edit(batch, edit, key, None)))
                if len(running) >= in_flight:
                    for edited in await running.popleft():
                        yield edited
            while running:
                for edited in await running.popleft():
                    yield edited
        finally:
            for task in running:
                task.cancel()

    async def segment(self, image: Image, *, key: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids (S, S) uint8 and soft region masks (S, S, R) float32 in [0, 1] of an image."""
        inputs = {"image": pixels(image, (await self.served()).image_size)[None]}
        outputs = (await self.predict("segment", inputs, key=key)).outputs
        return outputs["labels"][0], outputs["regions"][0]

    async def analyze(self, image: Image, *, key: str | None = None) -> np.ndarray:
        """Return the expression (N,) float32 of an image."""
        inputs = {"image": pixels(image, (await self.served()).image_size)[None]}
        return (await self.predict("analyze", inputs, key=key)).outputs["expression"][0]

    async def labels(self) -> tuple[str, ...]:
        """Return what each number of an expression stands for, as `AU12`; ModelNotFound where the export cannot tell."""
        found = (await self.predict("labels", calls.labels_request(await self.served()), key="")).outputs["labels"]
        return tuple(label.decode() for label in found[0])

    async def status(self) -> dict[int, tuple[str, str]]:
        """Return each version's state (AVAILABLE and so on) and error text, newest first."""
        request = messages.GetModelStatusRequest()
        request.model_spec.name = self.model
        return calls.parse_status((await self._call(calls.STATUS, request))[0])
