"""The embedded server's process: load, listen, tell the ports, drain at SIGTERM.

    python -m serving.server --model-dir EXPORT --grpc-port 0 --port-file ports.json

The port file holds `{"grpc": 8500, "rest": 8501, "pid": 1}` (`rest` is null where there is none) and appears, whole,
once requests are answered.
"""

import argparse
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seghgan_tf import quiet
from serving.server import logs
from serving.server.settings import Settings

logger = logging.getLogger("serving.server")


def _write_ports(path: Path, ports: dict[str, int | None]) -> None:
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(ports) + "\n")
    aside.replace(path)


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Serve until `stop` is set, by SIGTERM and SIGINT where it is None, then drain.

    ValueError where nothing can be served, OSError where a port is taken or a file cannot be read.
    """
    logs.set_up(settings.log_level)
    quiet.start_tensorflow(debug=settings.log_level == "debug")
    started = time.monotonic()
    from serving.server.engine import Engine
    from serving.server.grpc_server import GrpcServer

    stopping = threading.Event() if stop is None else stop
    if stop is None:
        _stop_on_signals(stopping)
    engine = Engine(settings)
    rest: Any = None
    try:
        engine.start()
        server = GrpcServer(engine)
        server.start()
        if settings.rest_port is not None:
            from serving.server import rest_server

            rest = rest_server.start(engine, settings)
        ports = {"grpc": server.port, "rest": rest.port if rest else None, "pid": os.getpid()}
        if settings.port_file is not None:
            _write_ports(settings.port_file, ports)
        fields = {**ports, "models": engine.models.names, "start_seconds": round(time.monotonic() - started, 2)}
        logger.info("serving", extra={"fields": fields})
        stopping.wait()
        logger.info("draining", extra={"fields": {"seconds": settings.drain_seconds}})
        engine.drain()
        time.sleep(settings.lame_duck_seconds)
        if rest is not None:
            stopper = threading.Thread(target=rest.stop, args=(settings.drain_seconds,))
            stopper.start()
        server.stop(settings.drain_seconds)
        if rest is not None:
            stopper.join()
    finally:
        engine.close()
        if settings.port_file is not None:
            settings.port_file.unlink(missing_ok=True)
    logger.info("stopped")


def _stop_on_signals(stopping: threading.Event) -> None:
    def stop(_number: int, _frame: types.FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text == "none" else convert(text)

    return parse


def parser() -> argparse.ArgumentParser:
    """Return the parser of the process's arguments: one for every field of `Settings`."""
    parsed = argparse.ArgumentParser(prog="python -m serving.server", description=__doc__)
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parsed.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        elif "tuple" in (kind := str(field.type)):
            parsed.add_argument(flag, nargs="*", default=())
        else:
            convert: Any = Path if "Path" in kind else float if "float" in kind else int if "int" in kind else str
            parsed.add_argument(flag, type=_or_none(convert), default=field.default)
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Run the server; 0 after a drain, 1 where it cannot serve, 2 for wrong usage."""
    given = vars(parser().parse_args(arguments))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        settings = Settings(**given)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        run(settings)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
