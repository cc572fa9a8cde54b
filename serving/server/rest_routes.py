"""TensorFlow Serving's REST over an `Engine`, its metrics, and the web page.

GET  /v1/models/M[/versions/V|/labels/L]            states of the versions
GET  /v1/models/M[/versions/V|/labels/L]/metadata   signatures
POST /v1/models/M[/versions/V|/labels/L]:predict    run a signature
GET  /monitoring/prometheus/metrics                 metrics
GET  /  and  /manifest.json                         the page and what it needs to know of the model
"""

import asyncio
import logging
import math
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from tensorflow_serving.apis import get_model_metadata_pb2

from seghgan_tf.expressions import ExpressionSpace
from serving.server import logs, replies, rest_json
from serving.server.engine import SHED, Engine, Prediction, Question
from serving.server.errors import ServingError, invalid
from serving.server.metrics import CONTENT_TYPE
from serving.signature import Signature

logger = logging.getLogger(__name__)

WEB = Path(__file__).parents[1] / "web"

HTTP_CODES = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""TensorFlow Serving's HTTP status for each gRPC status; the rest is 500."""

PATH = re.compile(
    r"/v1/models(?:/(?P<model>[^/:]+))?(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?:/(?P<metadata>metadata)|:(?P<method>classify|regress|predict))?",
    re.IGNORECASE,
)


class Rest:
    """The ASGI application over one engine; `body_bytes` is the largest body, as sent and as unpacked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = engine.settings
        self.body_bytes = engine.body_bytes()
        self.most_values = engine.message_bytes() // 3
        routes: list[BaseRoute] = []
        if engine.metrics_path is not None:
            routes.append(Route(engine.metrics_path, self._metrics))
        if not self.settings.strict_compatibility and not self.settings.checks_clients:
            routes.append(Route("/manifest.json", self._manifest))
            if WEB.is_dir():
                routes.append(Mount("/", StaticFiles(directory=WEB, html=True)))
            else:
                logger.warning("no web page", extra={"fields": {"reason": "not installed", "folder": str(WEB)}})
        self._site = Starlette(routes=routes, exception_handlers={HTTPException: self._no_page})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"][:4].lower() == "/v1/":
            response = await self._api(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._site(scope, receive, send)

    async def _no_page(self, _: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        self.engine.metrics.shed(f"HTTP_{error.status_code}", "rest")
        return PlainTextResponse(error.detail, error.status_code, error.headers)

    async def _metrics(self, _: Request) -> Response:
        text = await asyncio.to_thread(self.engine.metrics.render)
        return Response(text, media_type=CONTENT_TYPE)

    async def _manifest(self, request: Request) -> Response:
        name = request.query_params.get("model") or self._page_model()
        try:
            with self.engine.models.use(name) as servable:
                manifest = {key: servable.manifest[key] for key in ("manifest_version", "model", "signatures")}
                space = ExpressionSpace.from_json(manifest["model"]["expression"])  # an earlier export has it alone
                manifest["model"] = {"units": space.units(), "emotions": space.emotions(), **manifest["model"]}
                served = {"model": name, "version": servable.version, "server": "embedded"}
        except ServingError as error:
            return _refusal(error, logs.request_id(""))
        return _json(200, orjson.dumps(manifest | {"served": served}))

    def _page_model(self) -> str:
        names = self.engine.models.names
        return names[0] if len(names) == 1 else self.settings.model_name

    async def _api(self, request: Request) -> Response:
        request_id = logs.request_id(request.headers.get("x-request-id", ""))
        try:
            return await self._answer(request, request_id)
        except ServingError as error:
            level = logging.DEBUG if error.code in SHED else logging.WARNING
            fields = {"method": request.method, "path": request.url.path[:200], "request_id": request_id}
            logger.log(level, "refused", extra={"fields": {**fields, "code": error.code.name, "error": error.message}})
            return _refusal(error, request_id)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:  # the boundary: a caller gets no traceback
            logger.exception("failed", extra={"fields": {"path": request.url.path[:200], "request_id": request_id}})
            text = f"Internal error; the log has it as {request_id}."
            return _refusal(ServingError(grpc.StatusCode.INTERNAL, text), request_id)

    async def _answer(self, request: Request, request_id: str) -> Response:
        with self.engine.counting("rest"):
            asked = self._asked(request)
            version = None if asked["version"] is None else int(asked["version"])
            if not asked["method"]:
                return self._told(asked, version, request_id)
        return await self._predict(request, asked, version, request_id)

    def _asked(self, request: Request) -> re.Match[str]:
        path = request.url.path
        asked = PATH.fullmatch(path)
        if asked is None or (asked["method"] is not None) != (request.method == "POST"):
            raise invalid(f"Malformed request: {request.method} {path[1:201]}")
        if asked["model"] is None:
            raise invalid("Missing model name in request.")
        if asked["method"] and self.settings.checks_clients:
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                "This server checks its clients' certificates, which REST cannot show: use gRPC.",
            )
        return asked

    def _told(self, asked: re.Match[str], version: int | None, request_id: str) -> Response:
        """Return a version's signatures, or the states of a model's versions."""
        if asked["metadata"]:
            reply = replies.metadata(self.engine, asked["model"], version, asked["label"])
            return _json(200, _metadata_json(reply), request_id)
        if asked["label"] is not None:
            with self.engine.models.use(asked["model"], label=asked["label"]) as servable:
                version = servable.version
        reply = replies.status(self.engine, asked["model"], version)
        return _json(200, orjson.dumps(_dict(reply)), request_id)

    async def _predict(self, request: Request, asked: re.Match[str], version: int | None, request_id: str) -> Response:
        deadline = time.monotonic() + self.settings.rest_api_timeout_in_ms / 1000
        with self.engine.counting("rest"):
            body, zipped = await self.engine.receive(partial(self._body, request), predicts=True)
        document: dict[str, Any] = {}
        rows: list[bool] = []

        def weight() -> int:
            nonlocal body
            body = rest_json.gunzip(body, self.body_bytes) if zipped else body
            return rest_json.weight(body, self.most_values)

        def question() -> Question:
            nonlocal body
            document.update(rest_json.parse(body))
            body = b""  # the document has it all
            key = rest_json.signature_name(document)

            def inputs(signature: Signature) -> dict[str, np.ndarray]:
                if asked["method"].lower() != "predict":
                    raise invalid(f'Expected a Predict signature: "{key[:100]}" is for :predict only.')
                rows.append("instances" in document)
                arrays = rest_json.inputs(document, signature)
                document.clear()  # its lists take many times what the arrays do
                return arrays

            return Question(asked["model"], inputs, key, version, asked["label"])

        def pack(prediction: Prediction) -> bytes:
            return rest_json.answer(prediction.outputs, rows[0])

        answering = asyncio.ensure_future(self.engine.predict(question, pack, deadline, "rest", weight))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ClientDisconnect
            return _json(200, answering.result(), request_id)
        finally:
            answering.cancel()
            gone.cancel()

    async def _body(self, request: Request) -> tuple[bytes, bool]:
        """Return a request's body and whether it is zipped."""
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise invalid(f"Content-Encoding must be gzip or identity. Received: {coding[:60]}")
        too_large = invalid(
            f"A request's body may have at most {self.body_bytes} bytes; send fewer images at once or a smaller photo."
        )
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.body_bytes:
            raise too_large
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self.body_bytes:
                raise too_large
        return bytes(body), coding == "gzip"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _dict(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return fields


def _metadata_json(reply: Any) -> bytes:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(signatures)
    spec = {"name": reply.model_spec.name, "signature_name": "", "version": str(reply.model_spec.version.value)}
    return orjson.dumps({"model_spec": spec, "metadata": {"signature_def": _dict(signatures)}})


def _json(code: int, body: bytes, request_id: str = "") -> Response:
    response = Response(body, code, media_type="application/json")
    response.headers["cache-control"] = "no-store"
    if request_id:
        response.headers["x-request-id"] = request_id
    return response


def _refusal(error: ServingError, request_id: str) -> Response:
    response = _json(HTTP_CODES.get(error.code, 500), rest_json.error_body(error), request_id)
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after or 0)))
    return response
