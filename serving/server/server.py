"""Both protocols over one engine, in one event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from serving.server.engine import Engine
from serving.server.grpc_server import GrpcServer
from serving.server.rest_server import RestServer

T = TypeVar("T")


class Server:
    """Answers for a loaded engine from when it is made until `stop`; OSError where a port is taken.

    `grpc_port` and `rest_port` are the ports it listens on; `rest_port` is None where REST is off.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None
        try:
            self._do(self._start())
        except BaseException:
            self.stop(0.0)
            raise

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        settings = self._engine.settings
        self._grpc = GrpcServer(self._engine)
        if settings.rest_port is not None:
            self._rest = RestServer(self._engine)
        self.grpc_port = self._grpc.port
        self.rest_port = self._rest.port if self._rest else None
        await self._grpc.start()
        if self._rest is not None:
            await self._rest.start()

    async def _stop(self, grace: float) -> None:
        await asyncio.gather(*(one.stop(grace) for one in (self._grpc, self._rest) if one is not None))
        await self._loop.shutdown_default_executor()

    def stop(self, grace: float) -> None:
        """Stop accepting and wait until what runs is answered, at most `grace` seconds."""
        self._do(self._stop(grace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
