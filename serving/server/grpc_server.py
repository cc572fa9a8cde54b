"""TensorFlow Serving's gRPC services and grpc.health.v1 on a port: errors to statuses, health, TLS, draining."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from serving.server import logs, tls
from serving.server.engine import SHED, Engine
from serving.server.errors import ServingError, invalid
from serving.server.grpc_services import Call, Services
from serving.server.settings import address

logger = logging.getLogger(__name__)

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
HEALTH_NAMES = ("", "PredictionService", "ModelService", PREDICTION, MODEL)
STREAMS = 128
"""Calls that one connection may have open."""

Method = Callable[[bytes, Call], Awaitable[bytes]]


def _trailing(request_id: str, error: ServingError | None, compatible: bool) -> tuple[tuple[str, str], ...]:
    metadata = [("x-served-by", "embedded"), ("x-request-id", request_id)]
    if error is not None and error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not compatible:
        # Clients with a retry policy come again after this time. Below 10 ms they may hang (grpc 41036).
        metadata.append(("grpc-retry-pushback-ms", str(max(20, int((error.retry_after or 0.05) * 1000)))))
    return tuple(metadata)


async def _message(context: grpc.aio.ServicerContext) -> bytes:
    message = await context.read()
    if message is grpc.aio.EOF:
        raise invalid("A request must have a message. Received: none")
    return bytes(message)


def _handler(engine: Engine, method: str, function: Method) -> grpc.RpcMethodHandler:
    """Return a method whose message is read when we ask for it: a call that sends none takes no thread and no place."""
    settings, predicts = engine.settings, method == "Predict"

    async def handle(_: Any, context: grpc.aio.ServicerContext) -> bytes:
        start = time.monotonic()
        given = dict(context.invocation_metadata() or ()).get("x-request-id", "")
        request_id = logs.request_id(str(given))
        fields: dict[str, Any] = {"method": method, "request_id": request_id}
        counted = False
        try:
            if settings.client_identities and not tls.identities(context) & set(settings.client_identities):
                raise ServingError(grpc.StatusCode.PERMISSION_DENIED, "Your certificate's name is not on the list.")
            raw = await engine.receive(partial(_message, context), predicts)
            remaining = context.time_remaining()
            deadline = None if remaining is None or remaining > 1e8 else time.monotonic() + remaining
            counted = predicts  # by the engine
            answer = await function(raw, Call(context, request_id, deadline))
        except ServingError as refused:
            error = refused
            if not counted:
                engine.metrics.shed(error.code.name, "grpc")
            level = logging.DEBUG if error.code in SHED else logging.WARNING
            logger.log(level, "refused", extra={"fields": fields | {"code": error.code.name, "error": error.message}})
        except Exception:  # the boundary: a caller gets no traceback
            logger.exception("failed", extra={"fields": fields})
            error = ServingError(grpc.StatusCode.INTERNAL, f"Internal error; the log has it as {request_id}.")
        else:
            fields["ms"] = round((time.monotonic() - start) * 1e3, 2)
            logger.debug("answered", extra={"fields": fields})
            context.set_trailing_metadata(_trailing(request_id, None, settings.strict_compatibility))
            return answer
        context.set_code(error.code)
        context.set_details(error.message)
        context.set_trailing_metadata(_trailing(request_id, error, settings.strict_compatibility))
        return b""  # is not sent

    return grpc.stream_unary_rpc_method_handler(handle)


class _Unknown(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Counts the calls of methods that no handler before it has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def service(self, _: grpc.HandlerCallDetails) -> None:
        """Leave the answer, UNIMPLEMENTED, to gRPC."""
        self._engine.metrics.shed("UNIMPLEMENTED", "grpc")


class _Health(health.aio.HealthServicer):
    """Health whose watchers can be sent away, so that none of them holds up a drain."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[asyncio.Task[Any]] = set()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        """Tell the health of a service, and every change of it."""
        task = asyncio.current_task()
        if task is not None:
            self._watchers.add(task)
            task.add_done_callback(self._watchers.discard)
        await super().Watch(request, context)

    def dismiss(self) -> None:
        """End every Watch."""
        for task in list(self._watchers):
            task.cancel()


class GrpcServer:
    """A gRPC server over an engine, for the event loop it is made in; `port` is the one it listens on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        limit = engine.message_bytes()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.max_concurrent_streams", STREAMS),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.max_connection_age_ms", 300_000),
                ("grpc.max_connection_age_grace_ms", 30_000),
            ]
        )
        services = Services(engine, limit)
        prediction: dict[str, Method] = {
            "Predict": services.predict,
            "GetModelMetadata": services.metadata,
            "Classify": services.unsupported(classification_pb2.ClassificationRequest),
            "Regress": services.unsupported(regression_pb2.RegressionRequest),
            "MultiInference": services.unsupported(inference_pb2.MultiInferenceRequest),
        }
        model: dict[str, Method] = {"GetModelStatus": services.status, "HandleReloadConfigRequest": services.reload}
        for service, methods in ((PREDICTION, prediction), (MODEL, model)):
            handlers = {name: _handler(engine, name, function) for name, function in methods.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._health = _Health()
        self._told: set[str] = set()
        self._loop, self._changes = asyncio.get_running_loop(), asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((_Unknown(engine),))
        self.port = self._listen(address(engine.settings.host, engine.settings.grpc_port))

    def _listen(self, where: str) -> int:
        credentials = tls.server_credentials(self._engine.settings)
        try:
            if credentials is None:
                return int(self._server.add_insecure_port(where))
            return int(self._server.add_secure_port(where, credentials))
        except RuntimeError as error:
            raise OSError(
                f"`host` must be an address of this machine and `grpc_port` free; is another server running? Received: {where}"
            ) from error

    async def _report_health(self) -> None:
        engine = self._engine
        good = dict.fromkeys(HEALTH_NAMES, engine.ready())
        for model in engine.models.names:
            available = {
                f"{model}/{one.version}": one.state.name == "AVAILABLE" for one in engine.models.versions(model)
            }
            good |= available | {model: any(available.values())}
        gone = dict.fromkeys(self._told - set(good), False)
        self._told |= set(good)
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        for name, fine in (good | gone).items():
            await self._health.set(name, serving if fine and not engine.draining else not_serving)

    def _changed(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._changes.set)

    async def _follow(self) -> None:
        while True:
            await self._changes.wait()
            self._changes.clear()
            await self._report_health()

    async def start(self) -> None:
        """Begin to answer."""
        self._engine.listeners.append(self._changed)
        self._following = asyncio.create_task(self._follow())
        await self._report_health()
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Stop accepting and wait until what runs is done, at most `grace` seconds; health streams do not count."""
        if self._following is not None:
            self._engine.listeners.remove(self._changed)
            self._following.cancel()
        self._health.dismiss()
        await self._server.stop(grace)
