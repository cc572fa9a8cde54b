"""The HTTP server that answers REST: with headers that protect the page, and patience that ends."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from functools import partial

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server import tls
from serving.server.engine import Engine
from serving.server.rest_routes import Rest
from serving.server.settings import address

HEADER_SECONDS = 10.0
"""How long a client may take to send a request's header."""

CONNECTIONS = 512
HEADERS = {
    "x-served-by": "embedded",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class _Headers:
    """Puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pairs = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._pairs]
            await send(message)

        await self._app(scope, receive, with_headers)


class _Protocol(H11Protocol):
    """Closes connections whose next request does not arrive, so that slow senders cannot hold them.

    `idle` are those that wait for one, oldest first. Where there are too many connections the oldest of them is closed.
    """

    idle: dict["_Protocol", asyncio.TimerHandle]
    refused: Callable[[], None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            next(iter(self.idle), self)._close()
            self.refused()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if overdue := self.idle.pop(self, None):
            overdue.cancel()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if overdue := self.idle.pop(self, None):
                overdue.cancel()
        elif self not in self.idle:
            self.idle[self] = self.loop.call_later(HEADER_SECONDS, self._close)

    def _close(self) -> None:
        self.transport.close()


class RestServer:
    """A REST server over an engine, for the event loop it is made in; `port` is the one it listens on."""

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        self._socket = listen(settings.host, settings.rest_port or 0)
        self.port: int = self._socket.getsockname()[1]
        refused = partial(engine.metrics.shed, "UNAVAILABLE", "rest")
        config = uvicorn.Config(
            _Headers(Rest(engine)),
            http=type("Protocol", (_Protocol,), {"idle": {}, "refused": staticmethod(refused)}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=tls.https(settings),
        )
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self, grace: float) -> None:
        """Stop accepting and wait until what runs is answered, at most `grace` seconds."""
        self._server.config.timeout_graceful_shutdown = math.ceil(grace)
        self._server.should_exit = True
        if self._task is not None:
            await self._task


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; OSError where the port is taken."""
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        listening = socket.create_server(
            (bare, port),
            family=family,
            backlog=CONNECTIONS,
            dualstack_ipv6=bare == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise OSError(
            f"`host` must be an address of this machine and `rest_port` free ({error.strerror}). "
            f"Received: {address(host, port)}"
        ) from error
    # Connections inherit it. asyncio sets it only where it made the socket, and without it answers wait 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
