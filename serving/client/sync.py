"""The client for any server of the export contract, TensorFlow Serving or the embedded one; needs no TensorFlow."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
import numpy as np

from serving import messages, tensors
from serving.client import channel as calls
from serving.client.channel import TLS, Retry, Served
from serving.client.errors import ClientError, typed
from serving.client.inputs import Edit, Image, batches, pixels

__all__ = ["TLS", "ClientError", "Reply", "Retry", "SegHGANClient"]


class Reply(NamedTuple):
    """A server's answer: the version that gave it, its outputs, and what it says of itself (`x-served-by`)."""

    version: int
    outputs: dict[str, np.ndarray]
    served_by: str


class SegHGANClient:
    """Edits, segments and analyzes faces on a server.

    `target` is `host:port` or `dns:///host:port`, whose addresses are used in turn. `version` or `label` chooses a
    version for all calls; `canary` is the share of `key`s that get the label `canary` and the rest `stable`. `timeout`
    is the deadline of a call in seconds, retries included. Every method raises a `ClientError` of a kind that says
    what to do, and ValueError for arguments that do not fit the model.

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
        self.target, self.model, self.timeout = target, model, timeout
        self._tls, self._choice = tls, calls.Choice(version, label, canary)
        self._retries = calls.Retries(retry)
        self._channel = self._open(4 << 20)
        self._served: Served | None = None

    def _open(self, limit: int) -> grpc.Channel:
        options = calls.channel_options(limit, self._tls)
        if self._tls is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self._tls.credentials(), options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()

    def _call(self, method: str, request: Any, timeout: float | None = None) -> tuple[Any, str]:
        deadline = time.monotonic() + (timeout or self.timeout)
        call = self._channel.unary_unary(
            method,
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=calls.REPLIES[method].FromString,
        )
        for attempt in range(1, self._retries.retry.attempts + 1):
            remaining = max(deadline - time.monotonic(), 0.001)
            try:
                reply, finished = call.with_call(request, timeout=remaining, wait_for_ready=False)
            except grpc.RpcError as error:
                wait = self._retries.wait(error, attempt, deadline - time.monotonic())
                if wait is None:
                    raise typed(error, self.target) from None
                time.sleep(wait)
            else:
                self._retries.succeeded()
                trailing = {key: value for key, value in finished.trailing_metadata() or () if isinstance(value, str)}
                return reply, trailing.get("x-served-by", "")
        raise ClientError(f"{self.target}: no attempt was made")

    def served(self) -> Served:
        """Return the version and signatures of the model, asked for once; message sizes follow from them."""
        if self._served is None:
            request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
            calls.fill_spec(request.model_spec, self.model, *self._choice.of(""))
            served = calls.parse_metadata(self._call(calls.METADATA, request)[0])
            small, self._channel = self._channel, self._open(served.message_bytes)
            small.close()
            self._served = served
        return self._served

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
        served = self.served()
        request = calls.predict_request(self.model, signature, inputs, *self._choice.of(key), outputs)
        calls.check_size(request, served)
        reply, served_by = self._call(calls.PREDICT, request, timeout)
        arrays = {name: tensors.decode(proto) for name, proto in reply.outputs.items()}
        return Reply(reply.model_spec.version.value, arrays, served_by)

    def edit(
        self,
        image: Image,
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        jpeg_quality: int = 0,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return the image with another expression, in the kind it was given: bytes, PIL image or array.

        `expression` is the absolute target. `regions` limits what may change (None: everything). File bytes come back
        as PNG, as JPEG where `jpeg_quality` is 1 to 100.
        """
        return self._edit([image], Edit(expression, regions, jpeg_quality), key, timeout)[0]

    def _edit(self, images: Sequence[Image], edit: Edit, key: str | None, timeout: float | None) -> list[Any]:
        signature, output, inputs = edit.request(images, self.served())
        edited = self.predict(signature, inputs, outputs=[output], key=key, timeout=timeout).outputs[output]
        return [edit.result(one, image) for one, image in zip(edited, images, strict=True)]

    def edit_many(
        self,
        images: Iterable[Image],
        expression: Any,
        regions: Sequence[str] | None = None,
        *,
        batch_size: int = 4,
        in_flight: int = 4,
        jpeg_quality: int = 0,
        key: str | None = None,
    ) -> Iterator[Any]:
        """Yield the edited images in order, reading at most `in_flight` batches ahead of what is consumed.

        `expression` is one row for all. Images of one batch are of one kind; a change of kind ends the batch.
        """
        edit = Edit(np.asarray(expression, np.float32), regions, jpeg_quality)
        self.served()
        with ThreadPoolExecutor(in_flight) as pool:
            running: deque[Future[list[Any]]] = deque()
            try:
                for batch in batches(images, batch_size, self.served()):
                    running.append(pool.submit(self._edit, batch, edit, key, None))
                    if len(running) >= in_flight:
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
            finally:
                for future in running:
                    future.cancel()

    def segment(self, image: Image, *, key: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids (S, S) uint8 and soft region masks (S, S, R) float32 in [0, 1] of an image."""
        inputs = {"image": pixels(image, self.served().image_size)[None]}
        outputs = self.predict("segment", inputs, key=key).outputs
        return outputs["labels"][0], outputs["regions"][0]

    def analyze(self, image: Image, *, key: str | None = None) -> np.ndarray:
        """Return the expression (N,) float32 of an image."""
        inputs = {"image": pixels(image, self.served().image_size)[None]}
        return self.predict("analyze", inputs, key=key).outputs["expression"][0]

    def labels(self) -> tuple[str, ...]:
        """Return what each number of an expression stands for, as `AU12`; ModelNotFound where the export cannot tell."""
        found = self.predict("labels", calls.labels_request(self.served()), key="").outputs["labels"]
        return tuple(label.decode() for label in found[0])

    def status(self) -> dict[int, tuple[str, str]]:
        """Return each version's state (AVAILABLE and so on) and error text, newest first."""
        request = messages.GetModelStatusRequest()
        request.model_spec.name = self.model
        return calls.parse_status(self._call(calls.STATUS, request)[0])
