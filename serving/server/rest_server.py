"""The HTTP server that answers REST: in a thread of its own, with headers that protect the page, and patience that ends."""

import asyncio
import logging
import math
import socket
import threading

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server import tls
from serving.server.engine import Engine
from serving.server.rest_routes import Rest
from serving.server.settings import Settings

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
    """Closes connections whose next request does not arrive, so that slow senders cannot hold them."""

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        waiting = self.conn.their_state is h11.IDLE
        if waiting and self._overdue is None:
            self._overdue = self.loop.call_later(HEADER_SECONDS, self._close)
        elif not waiting and self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _close(self) -> None:
        self._overdue = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


class RestServer:
    """A REST server in a thread of its own; `port` is the one it listens on."""

    def __init__(self, rest: Rest, settings: Settings) -> None:
        self._socket = listen(settings.host, settings.rest_port or 0)
        self.port: int = self._socket.getsockname()[1]
        self._rest = rest
        config = uvicorn.Config(
            _Headers(rest.app()),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=tls.https(settings),
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="rest", daemon=True
        )
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Stop accepting and wait until what runs is answered, at most `grace` seconds."""
        self._server.config.timeout_graceful_shutdown = math.ceil(grace)
        self._server.should_exit = True
        self._thread.join(grace + 1.0)
        self._server.force_exit = True
        self._rest.pool.shutdown(wait=False, cancel_futures=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; OSError where the port is taken."""
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise OSError(f"`rest_port` must be free; is another server running? Received: {host}:{port}") from error
    # Connections inherit it. asyncio sets it only where it made the socket, and without it answers wait 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def start(engine: Engine, settings: Settings) -> RestServer:
    """Answer REST for an engine from now on; OSError where the port is taken."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    return RestServer(Rest(engine, settings), settings)
