"""The command line of the server, which `seghgan serve` and `python -m serving.server` share: load, listen, drain.

    seghgan serve EXPORT --grpc-port 0 --port-file ports.json

The port file holds `{"grpc": 8500, "rest": 8501, "pid": 1}` (`rest` is null where there is none) and appears, whole,
once requests are answered.
"""

import argparse
import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import sys
import threading
import time
from typing import Any

from seghgan_tf import quiet
from seghgan_tf.files import write_atomically
from serving.server import binary, logs
from serving.server.settings import Settings, add_settings, settings_of

logger = logging.getLogger("serving.server")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. What is still loading then ends with the process.

    A second signal ends `lame_duck_seconds`.
    ValueError where nothing can be served, OSError where a port is taken or a file cannot be read.
    """
    logs.set_up(settings.log_level)
    if settings.port_file is not None:
        settings.port_file.unlink(missing_ok=True)
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        # An Event's lock may be in the hands of the very thread that a signal interrupts; this `put` is reentrant.
        signal.signal(number, lambda *_: told.put("signal"))
    quiet.start_tensorflow(debug=settings.log_level == "debug")
    started = time.monotonic()
    engine, failed = _load(settings, told)
    if told.get() == "signal":
        _leave("stopped while loading")
    if failed:
        raise failed[0]
    from serving.server.server import Server

    server = Server(engine[0])
    try:
        ports = {"grpc": server.grpc_port, "rest": server.rest_port, "pid": os.getpid()}
        if settings.port_file is not None:
            write_atomically(settings.port_file, json.dumps(ports) + "\n")
        fields = {**ports, "models": engine[0].models.names, "start_seconds": round(time.monotonic() - started, 2)}
        logger.info("serving", extra={"fields": fields})
        told.get()
        logger.info("draining", extra={"fields": {"seconds": settings.drain_seconds}})
        engine[0].drain()
        with contextlib.suppress(queue.Empty):
            told.get(timeout=settings.lame_duck_seconds)
    finally:
        server.stop(settings.drain_seconds)
        if settings.port_file is not None:
            settings.port_file.unlink(missing_ok=True)
    if not engine[0].close():
        _leave("stopped while loading")
    logger.info("stopped")


def _load(settings: Settings, told: queue.SimpleQueue[str]) -> tuple[list[Any], list[BaseException]]:
    """Load the models in a thread that the process need not wait for; return where its engine or its error will be."""
    engine: list[Any] = []
    failed: list[BaseException] = []

    def load() -> None:
        try:
            from serving.server.engine import Engine

            engine.append(Engine(settings))
            engine[0].start()
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            failed.append(error)
        finally:
            told.put("loaded")

    threading.Thread(target=load, name="load", daemon=True).start()
    return engine, failed


def _leave(how: str) -> None:
    """End the process at once, because TensorFlow cannot be stopped in the middle of a load."""
    logger.info(how)
    logging.shutdown()
    os._exit(0)


def parser(program: str = "seghgan serve") -> argparse.ArgumentParser:
    """Return the parser of the server's command line: one option for every field of `Settings`, and which server."""
    parsed = argparse.ArgumentParser(
        program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_settings(parsed)
    parsed.add_argument(
        "--backend",
        choices=("auto", "binary", "embedded"),
        default="auto",
        help="what answers: tensorflow_model_server (binary) or the embedded server; auto takes the binary where it is on "
        "PATH and does all that is asked",
    )
    parsed.add_argument(
        "--docker", action="store_true", help="print the docker command for TensorFlow Serving and stop"
    )
    parsed.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parsed


def main(arguments: list[str] | None = None, program: str = "python -m serving.server") -> int:
    """Run the server; 0 after a drain, 1 where it cannot serve, 2 for wrong usage."""
    given = parser(program).parse_args(arguments)
    try:
        settings = settings_of(given)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        if given.docker:
            sys.stdout.write(binary.docker_command(settings) + "\n")
        elif (line := _binary(settings, given.backend)) is not None:
            os.execv(line[0], line)  # noqa: S606  # the server takes this process's place and its signals
        else:
            run(settings)
    except (ValueError, OSError) as error:
        if given.debug:
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    return 0


def _binary(settings: Settings, backend: str) -> list[str] | None:
    """Return the command of TensorFlow Serving's binary, None where the embedded server is to answer; say which it is."""
    found = shutil.which("tensorflow_model_server")
    if backend == "binary" and found is None:
        how = ""
        with contextlib.suppress(ValueError):
            how = f" Without it, Docker can run it: {binary.docker_command(settings)}"
        raise OSError(f"`--backend binary` needs tensorflow_model_server on PATH.{how}")
    if backend == "embedded":
        why = ["asked for"]
    elif found is None:
        why = ["tensorflow_model_server is not on PATH"]
    else:
        why = binary.refusals(settings) if backend == "auto" else []
        if not why:
            with contextlib.suppress(OSError):  # a full disk under the log stops nothing
                sys.stderr.write(f"backend: binary ({found})\n")
            return binary.command(settings, found)
        why = [f"tensorflow_model_server is on PATH, but {'; '.join(why)}"]
    with contextlib.suppress(OSError):
        sys.stderr.write(f"backend: embedded ({why[0]})\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
