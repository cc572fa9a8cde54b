"""The HTTP server that answers REST: with headers that protect the page, and patience that ends."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server import tls
from serving.server.engine import Engine
from serving.server.rest_routes import Rest
from serving.server.settings import address

HEADER_SECONDS = 10.0
"""How long a client may take to send a request's header."""

READ_SECONDS = 30.0
"""How long a client may take nothing of its answer."""

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
    """Drops connections that wait too long for their client, so that nobody who sends or reads slowly can hold them.

    `waiting` are those where no request is answered now, or where the client does not take its answer, longest first. Where
    there are too many connections the first of them is dropped.
    """

    waiting: dict["_Protocol", asyncio.TimerHandle]
    refused: Callable[[str], None]
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            next(iter(self.waiting), self)._drop("UNAVAILABLE")
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self.refused("HTTP_400")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        if overdue := self.waiting.pop(self, None):
            overdue.cancel()

    def _watch(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete and not self.flow.write_paused
        if answering or self not in self.connections:
            self._forget()
        elif self not in self.waiting:
            self._wait()

    def _wait(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self.waiting[self] = self.loop.call_later(READ_SECONDS if self._unread else HEADER_SECONDS, self._overdue)

    def _overdue(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread:  # slow, but it reads
            self._wait()
        else:
            self._drop("DEADLINE_EXCEEDED" if self.conn.trailing_data[0] else "")

    def _drop(self, code: str) -> None:
        """End the connection without waiting until what it was sent is read; a `code` tells that a request is refused with it."""
        self._forget()
        self.connections.discard(self)
        self.transport.abort()
        if code:
            self.refused(code)


class RestServer:
    """A REST server over an engine, for the event loop it is made in; `port` is the one it listens on."""

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        self._socket = listen(settings.host, settings.rest_port or 0)
        self.port: int = self._socket.getsockname()[1]
        refused = partial(engine.metrics.shed, protocol="rest")
        config = uvicorn.Config(
            _Headers(Rest(engine)),
            http=type("Protocol", (_Protocol,), {"waiting": {}, "refused": staticmethod(refused)}),
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
