"""TensorFlow Serving's gRPC services and grpc.health.v1 over an `Engine`."""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import messages, replies, tensors, tls
from serving.engine import SHED, Engine, Request
from serving.errors import ServingError, invalid
from serving.model_config import parse_models

logger = logging.getLogger(__name__)

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
HEALTH_NAMES = ("", "PredictionService", "ModelService", PREDICTION, MODEL)
SPARE_THREADS = 16
"""Threads beyond those that run and wait, which shed, answer status calls and health; gRPC itself refuses what is more."""


class _Active:
    """How many calls are being answered."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


class _Call(NamedTuple):
    context: grpc.ServicerContext
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


class Services:
    """The methods of both services; each takes the raw request and returns the serialized answer."""

    def __init__(self, engine: Engine, max_message_bytes: int) -> None:
        self.engine = engine
        self.max_message_bytes = max_message_bytes

    def predict(self, raw: bytes, call: _Call) -> bytes:
        """Run a signature. Parsing waits for a place, as running does."""

        def read() -> Request:
            request = _parse(predict_pb2.PredictRequest, raw)
            name, version, label = _asked(request.model_spec)
            if len(request.inputs) > 64:
                raise invalid(f"A request may have at most 64 inputs. Received: {len(request.inputs)}")
            return Request(
                name,
                {key: self._tensor(key, proto) for key, proto in request.inputs.items()},
                request.model_spec.signature_name,
                version,
                label,
                tuple(request.output_filter),
            )

        answer = self.engine.predict(read, call.deadline, call.context.is_active)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = answer.model
        response.model_spec.version.value = answer.version
        response.model_spec.signature_name = answer.signature
        for key, array in answer.outputs.items():
            tensors.encode(array, response.outputs[key])
        return response.SerializeToString()

    def _tensor(self, key: str, proto: Any) -> np.ndarray:
        try:
            return tensors.decode(proto, self.max_message_bytes)
        except ValueError as error:
            raise invalid(f"`{key[:100]}` cannot be read: {error}") from error

    def metadata(self, raw: bytes, _: _Call) -> bytes:
        """Return the signatures of a version."""
        request = _parse(get_model_metadata_pb2.GetModelMetadataRequest, raw)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field. Received: none")
        if unknown := [field for field in request.metadata_field if field != "signature_def"]:
            raise invalid(f"metadata_field must be `signature_def`. Received: {unknown[0][:100]!r}")
        name, version, label = _asked(request.model_spec)
        return replies.metadata(self.engine, name, version, label).SerializeToString()

    def status(self, raw: bytes, _: _Call) -> bytes:
        """Return the states of a model's versions; a label is ignored, as in TensorFlow Serving."""
        request = _parse(get_model_status_pb2.GetModelStatusRequest, raw)
        if not request.HasField("model_spec"):
            raise invalid("GetModelStatusRequest must have a model_spec. Received: none")
        name, version, _label = _asked(request.model_spec)
        return replies.status(self.engine, name, version).SerializeToString()

    def reload(self, raw: bytes, call: _Call) -> bytes:
        """Take a new model config; the outcome stands in the body and is the call's status."""
        settings = self.engine.settings
        if not settings.strict_compatibility:
            named = settings.admin_identities and tls.identities(call.context) & set(settings.admin_identities)
            if not settings.allow_reload or (settings.admin_identities and not named):
                raise ServingError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "This server does not take configuration from you: edit models.config, or start it with "
                    "--allow-reload and --admin-identity.",
                )
        request = _parse(model_management_pb2.ReloadConfigRequest, raw)
        try:
            configs = parse_models(request.config)
        except ValueError as error:
            raise invalid(str(error)) from error
        self.engine.reload(configs)
        return model_management_pb2.ReloadConfigResponse().SerializeToString()

    def unsupported(self, kind: Any) -> Callable[[bytes, _Call], bytes]:
        """Return a method that refuses Classify, Regress or MultiInference: our signatures are for Predict."""

        def refuse(raw: bytes, _: _Call) -> bytes:
            request = _parse(kind, raw)
            spec = (
                request.tasks[0].model_spec if kind is inference_pb2.MultiInferenceRequest and request.tasks else None
            )
            if spec is None and kind is inference_pb2.MultiInferenceRequest:
                raise invalid("Inference request must have at least one task. Received: none")
            spec = spec or request.model_spec
            name, version, label = _asked(spec)
            self.engine.signatures(name, version, label)
            raise invalid(
                f'Expected a Predict signature: "{spec.signature_name or "serving_default"}" is for Predict only.'
            )

        return refuse


def _trailing(request_id: str, error: ServingError | None, compatible: bool) -> tuple[tuple[str, str | bytes], ...]:
    metadata: list[tuple[str, str | bytes]] = [("x-served-by", "embedded"), ("x-request-id", request_id)]
    if error is not None and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not compatible:
        seconds = error.retry_after or 0.05
        status = messages.Status(code=error.code.value[0], message=error.message)
        hint = messages.RetryInfo()
        hint.retry_delay.FromMilliseconds(max(1, int(seconds * 1000)))
        detail = status.details.add()
        detail.type_url = "type.googleapis.com/google.rpc.RetryInfo"
        detail.value = hint.SerializeToString()
        metadata.append(("grpc-status-details-bin", status.SerializeToString()))
    return tuple(metadata)


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable():
            return value
    return uuid.uuid4().hex


def _handler(
    engine: Engine, active: _Active, method: str, function: Callable[[bytes, _Call], bytes]
) -> grpc.RpcMethodHandler:
    settings = engine.settings

    def handle(raw: bytes, context: grpc.ServicerContext) -> bytes:
        start = time.monotonic()
        remaining = context.time_remaining()
        deadline = None if remaining is None or remaining > 1e8 else start + remaining
        call = _Call(context, _request_id(context), deadline)
        error: ServingError
        try:
            if settings.client_identities and not tls.identities(context) & set(settings.client_identities):
                raise ServingError(grpc.StatusCode.PERMISSION_DENIED, "Your certificate's name is not on the list.")
            with active:
                answer = function(raw, call)
        except ServingError as refused:
            error = refused
            level = logging.DEBUG if error.code in SHED else logging.WARNING
        except Exception:  # the boundary: a caller gets no traceback
            logger.exception("failed", extra={"fields": {"method": method, "request_id": call.request_id}})
            error = ServingError(grpc.StatusCode.INTERNAL, f"Internal error; the log has it as {call.request_id}.")
            level = logging.DEBUG
        else:
            fields = {"method": method, "request_id": call.request_id, "ms": round((time.monotonic() - start) * 1e3, 2)}
            logger.debug("answered", extra={"fields": fields})
            context.set_trailing_metadata(_trailing(call.request_id, None, settings.strict_compatibility))
            return answer
        fields = {"method": method, "request_id": call.request_id, "code": error.code.name, "error": error.message}
        logger.log(level, "refused", extra={"fields": fields})
        context.set_trailing_metadata(_trailing(call.request_id, error, settings.strict_compatibility))
        context.set_code(error.code)
        context.set_details(error.message)
        return _refused_body(method, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def _refused_body(method: str, error: ServingError) -> bytes:
    if method != "HandleReloadConfigRequest":
        return b""
    response = model_management_pb2.ReloadConfigResponse()
    response.status.error_code = error.code.value[0]
    response.status.error_message = error.message
    return response.SerializeToString()


class GrpcServer:
    """A gRPC server over an engine; `port` is the one it listens on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._active = _Active()
        limit = engine.message_bytes()
        threads = engine.gate.running + engine.gate.waiting + SPARE_THREADS
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=threads,
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.max_concurrent_streams", 1024),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.max_connection_age_ms", 300_000),
                ("grpc.max_connection_age_grace_ms", 30_000),
            ],
        )
        services = Services(engine, limit)
        prediction = {
            "Predict": services.predict,
            "GetModelMetadata": services.metadata,
            "Classify": services.unsupported(classification_pb2.ClassificationRequest),
            "Regress": services.unsupported(regression_pb2.RegressionRequest),
            "MultiInference": services.unsupported(inference_pb2.MultiInferenceRequest),
        }
        model = {"GetModelStatus": services.status, "HandleReloadConfigRequest": services.reload}
        for service, methods in ((PREDICTION, prediction), (MODEL, model)):
            handlers = {name: _handler(engine, self._active, name, function) for name, function in methods.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._health = health.HealthServicer(
            experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(2, thread_name_prefix="health")
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        engine.on_change(self._report_health)
        self._report_health()
        self.port = self._listen(f"{engine.settings.host}:{engine.settings.grpc_port}")

    def _listen(self, address: str) -> int:
        credentials = tls.server_credentials(self._engine.settings)
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"`grpc_port` must be free; is another server running? Received: {address}") from error

    def _report_health(self) -> None:
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        whole = serving if self._engine.ready() else not_serving
        for name in HEALTH_NAMES:
            self._health.set(name, whole)
        for model in self._engine.models.names:
            versions = self._engine.models.versions(model)
            for one in versions:
                good = one.state.name == "AVAILABLE" and not self._engine.draining
                self._health.set(f"{model}/{one.version}", serving if good else not_serving)
            some = any(one.state.name == "AVAILABLE" for one in versions) and not self._engine.draining
            self._health.set(model, serving if some else not_serving)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self, grace: float) -> None:
        """Stop accepting and wait until what runs is done, at most `grace` seconds; health streams do not count."""
        end = time.monotonic() + grace
        stopped = self._server.stop(grace)
        idle = 0
        while idle < 3 and time.monotonic() < end and not stopped.wait(0.05):
            idle = 0 if self._active.count else idle + 1
        stopped.wait(max(0.0, min(1.0, end - time.monotonic())))
        self._server.stop(None).wait()
