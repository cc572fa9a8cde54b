"""Server processes that start in a moment: one process imports the server and forks for each command line that it reads.

A fork is a process of its own, with its own signals, log and exit code; what it shares is the import, which takes seconds.
"""

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Child:
    """A forked server, used as a `subprocess.Popen`."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid, self._nursery, self._code = pid, nursery, None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask(poll=self.pid)
        return self._code

    def wait(self, timeout: float) -> int:
        """Return the exit code; TimeoutExpired past `timeout` seconds."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("serving.server", timeout)
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks; the servers that still run end with it."""

    def __init__(self) -> None:
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **request: Any) -> Any:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: list[str], log: Path) -> Child:
        """Run `python -m serving.server` with these arguments; what it says goes to `log`."""
        return Child(self, self.ask(start=arguments, log=str(log)))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def main() -> int:
    """Answer requests until there are none; in a fork, return the exit code of the server."""
    from seghgan_tf import quiet

    quiet.start_tensorflow()
    import serving.server.engine
    import serving.server.server  # noqa: F401
    from serving.server import process

    gc.freeze()
    running = set()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "poll" in request:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            running.discard(ended)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if not answer:
                ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
                log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                os.dup2(log, 1)
                os.dup2(log, 2)
                return process.main(request["start"])
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
