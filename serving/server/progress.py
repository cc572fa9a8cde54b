"""How far a request has come, between the thread that runs it and the event loop in which its caller waits."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import CancelledError

from serving.server.admission import Admission, cancelled


@dataclasses.dataclass
class Progress:
    """`ran` once a graph ran for it, `gone` once nobody waits for its answer, `placed` while it has a place among those that run.

    `stepped` is whether it gave its place back for a while. `deadline` is on the admission's clock.
    """

    admission: Admission
    loop: asyncio.AbstractEventLoop
    deadline: float | None
    model: str = ""
    version: str = ""
    signature: str = ""
    examples: int = 0
    ran: bool = False
    gone: bool = False
    placed: bool = True
    stepped: bool = False
    _returning: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Let others have the place while the block waits, in the request's thread; then take the next that is free.

        ServingError as of `Admission.back`, CANCELLED where the caller is gone.
        """
        self.placed, self.stepped = False, True
        self.loop.call_soon_threadsafe(self.admission.step_aside)
        yield
        if self.gone:
            raise cancelled()
        try:
            asyncio.run_coroutine_threadsafe(self._back(), self.loop).result()
        except CancelledError:
            raise cancelled() from None

    async def _back(self) -> None:
        self._returning = asyncio.current_task()
        if self.gone:
            raise cancelled()
        await self.admission.back(self.deadline)
        self.placed = True

    def forget(self) -> None:
        """Take in that nobody waits for the answer any more, in the event loop."""
        self.gone = True
        if self._returning is not None:
            self._returning.cancel()

    def leave(self, seconds: float | None, beside: int) -> None:
        """Give the place back at the request's end, in the event loop, as `Admission.leave` has it."""
        if self.placed:
            kind = (self.model, self.version, self.signature, self.examples)
            self.admission.leave(None if self.stepped else seconds, kind, beside)
        else:
            self.admission.aside -= 1
