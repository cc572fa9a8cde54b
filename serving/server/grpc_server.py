"""TensorFlow Serving's gRPC services and grpc.health.v1 on a port: errors to statuses, health, TLS, draining."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import classification_pb2, inference_pb2, model_management_pb2, regression_pb2

from serving.server import tls
from serving.server.engine import SHED, Engine
from serving.server.errors import ServingError
from serving.server.grpc_services import Call, Services

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


def _trailing(request_id: str, error: ServingError | None, compatible: bool) -> tuple[tuple[str, str | bytes], ...]:
    metadata: list[tuple[str, str | bytes]] = [("x-served-by", "embedded"), ("x-request-id", request_id)]
    if error is not None and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not compatible:
        metadata.append(("grpc-retry-pushback-ms", str(max(20, int((error.retry_after or 0.05) * 1000)))))
    return tuple(metadata)


def _request_id(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id" and isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable():
            return value
    return uuid.uuid4().hex


def _handler(
    engine: Engine, active: _Active, method: str, function: Callable[[bytes, Call], bytes]
) -> grpc.RpcMethodHandler:
    settings = engine.settings

    def handle(raw: bytes, context: grpc.ServicerContext) -> bytes:
        start = time.monotonic()
        remaining = context.time_remaining()
        deadline = None if remaining is None or remaining > 1e8 else start + remaining
        call = Call(context, _request_id(context), deadline)
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


class _Inline(ThreadPoolExecutor):
    """Runs what it is given at once, in the thread that gives it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class _Predictions(grpc.GenericRpcHandler):
    """Answers Predict, and turns it away where the gate is full, before the request's message is read or a thread is taken."""

    def __init__(self, engine: Engine, answer: grpc.RpcMethodHandler) -> None:
        self._engine = engine
        self._answer = answer
        # A streaming request is one that is read when it is asked for. gRPC runs its handler in the pool that it names.
        refuse = partial(_refuse, engine)
        refuse.experimental_thread_pool = _Inline(1)  # type: ignore[attr-defined]
        self._turn_away = grpc.stream_unary_rpc_method_handler(refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return the handler of a Predict call, None of another."""
        if handler_call_details.method != f"/{PREDICTION}/Predict":
            return None
        return self._turn_away if self._engine.gate.full else self._answer


def _refuse(engine: Engine, _: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    error = engine.shed("grpc")
    context.set_trailing_metadata(_trailing(_request_id(context), error, engine.settings.strict_compatibility))
    context.set_code(error.code)
    context.set_details(error.message)
    return b""


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
            if service == PREDICTION:
                self._server.add_generic_rpc_handlers((_Predictions(engine, handlers.pop("Predict")),))
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
