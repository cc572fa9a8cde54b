"""The methods of TensorFlow Serving's gRPC services over an `Engine`: raw request in, serialized answer out."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving import tensors
from serving.server import replies, tls
from serving.server.engine import Engine, Prediction, Question
from serving.server.errors import ServingError, invalid
from serving.server.models_config import parse_models


class Call(NamedTuple):
    """What a method may ask of the call it answers; `deadline` is on `time.monotonic`'s clock."""

    context: grpc.aio.ServicerContext
    request_id: str
    deadline: float | None


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except (DecodeError, ValueError, RecursionError) as error:
        raise invalid(f"The request must be a {kind.DESCRIPTOR.name} message ({error}).") from error


def _asked(spec: Any) -> tuple[str, int | None, str | None]:
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    return spec.name, version, label or None


async def _apart(work: Callable[[], None]) -> None:
    """Run what may take as long as a load in a thread that a server which stops need not wait for."""
    done: Future[None] = Future()

    def run() -> None:
        if done.set_running_or_notify_cancel():
            try:
                work()
                done.set_result(None)
            except BaseException as error:  # noqa: BLE001  # raised again by whoever awaits
                done.set_exception(error)

    threading.Thread(target=run, name="reload", daemon=True).start()
    await asyncio.wrap_future(done)


class Services:
    """The methods of both services; each takes the raw request and answers in serialized form."""

    def __init__(self, engine: Engine, max_message_bytes: int) -> None:
        self.engine = engine
        self.max_message_bytes = max_message_bytes

    async def predict(self, raw: bytes, call: Call) -> bytes:
        """Run a signature. Parsing waits for a place, as running does."""

        def question() -> Question:
            request = _parse(predict_pb2.PredictRequest, raw)
            name, version, label = _asked(request.model_spec)
            if len(request.inputs) > 64:
                raise invalid(f"A request may have at most 64 inputs. Received: {len(request.inputs)}")
            return Question(
                name,
                lambda _: {key: self._tensor(key, proto) for key, proto in request.inputs.items()},
                request.model_spec.signature_name,
                version,
                label,
                tuple(request.output_filter),
            )

        return await self.engine.predict(question, self._packed, call.deadline)

    def _packed(self, answer: Prediction) -> bytes:
        response = predict_pb2.PredictResponse()
        response.model_spec.name = answer.model
        response.model_spec.version.value = answer.version
        response.model_spec.signature_name = answer.signature
        for key, array in answer.outputs.items():
            tensors.encode(array, response.outputs[key], content=not self.engine.settings.strict_compatibility)
        packed: bytes = response.SerializeToString()
        if len(packed) > self.max_message_bytes:
            raise invalid(
                f"The answer must fit a message of {self.max_message_bytes} bytes: send fewer images at once, ask for a "
                f"JPEG (`jpeg_quality` 90), or scale the photo down. Received: an answer of {len(packed)} bytes"
            )
        return packed

    def _tensor(self, key: str, proto: Any) -> np.ndarray:
        try:
            return tensors.decode(proto, self.max_message_bytes)
        except ValueError as error:
            raise invalid(f"`{key[:100]}` cannot be read: {error}") from error

    async def metadata(self, raw: bytes, _: Call) -> bytes:
        """Return the signatures of a version, as its graph has them."""
        request = _parse(get_model_metadata_pb2.GetModelMetadataRequest, raw)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field. Received: none")
        if unknown := [field for field in request.metadata_field if field != "signature_def"]:
            raise invalid(f"metadata_field must be `signature_def`. Received: {unknown[0][:100]!r}")
        name, version, label = _asked(request.model_spec)
        return replies.metadata(self.engine, name, version, label).SerializeToString()

    async def status(self, raw: bytes, _: Call) -> bytes:
        """Return the states of a model's versions; a label is ignored, as in TensorFlow Serving."""
        request = _parse(get_model_status_pb2.GetModelStatusRequest, raw)
        if not request.HasField("model_spec"):
            raise invalid("GetModelStatusRequest must have a model_spec. Received: none")
        name, version, _label = _asked(request.model_spec)
        return replies.status(self.engine, name, version).SerializeToString()

    async def reload(self, raw: bytes, call: Call) -> bytes:
        """Take a new model config; waits for loads."""
        settings = self.engine.settings
        if not settings.strict_compatibility:
            named = settings.admin_identities and tls.identities(call.context) & set(settings.admin_identities)
            if not settings.allow_reload or (settings.admin_identities and not named):
                raise ServingError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "This server does not take configuration from you: edit models.config, or start it with "
                    "--allow-reload and --admin-identities.",
                )
        request = _parse(model_management_pb2.ReloadConfigRequest, raw)
        try:
            configs = parse_models(request.config)
        except ValueError as error:
            raise invalid(str(error)) from error
        await _apart(lambda: self.engine.models.reconfigure(configs))
        return model_management_pb2.ReloadConfigResponse().SerializeToString()

    def unsupported(self, kind: Any) -> Callable[[bytes, Call], Awaitable[bytes]]:
        """Return a method that refuses Classify, Regress or MultiInference: our signatures are for Predict."""

        async def refuse(raw: bytes, _: Call) -> bytes:
            request = _parse(kind, raw)
            spec = (
                request.tasks[0].model_spec if kind is inference_pb2.MultiInferenceRequest and request.tasks else None
            )
            if spec is None and kind is inference_pb2.MultiInferenceRequest:
                raise invalid("Inference request must have at least one task. Received: none")
            spec = spec or request.model_spec
            name, version, label = _asked(spec)
            with self.engine.models.use(name, version, label):
                pass
            raise invalid(
                f'Expected a Predict signature: "{spec.signature_name or "serving_default"}" is for Predict only.'
            )

        return refuse
