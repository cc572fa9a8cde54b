"""An export of a plain tf.Module, made once, and servers over it; SEGHGAN_TFS_ADDRESS puts TensorFlow Serving in their place."""

import contextlib
import fcntl
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = 32


@pytest.fixture(scope="session")
def export_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder EXPORT/1 of a fake model of 32 px and three action units that brightens by 0.5."""
    from fake_export import write_export

    return write_export(tmp_path_factory.mktemp("export"), 1, strength=0.5, size=SIZE)


@pytest.fixture(scope="session")
def export_v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 of the same model, which brightens by 0.25."""
    from fake_export import write_export

    return write_export(tmp_path_factory.mktemp("export"), 2, strength=0.25, size=SIZE)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder EXPORT/1 of the checkpoint that comes with the package; written once for all processes of a test run."""
    from typer.testing import CliRunner

    from seghgan_tf.cli import app

    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    version = folder / "packaged" / "seghgan" / "1"
    with (folder / "packaged.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not version.is_dir():
            words = ["export", "--preset", "drawn-64", "--output", str(version.parent)]
            done = CliRunner().invoke(app, words)
            if done.exit_code:
                pytest.fail(done.output)
    return version


@pytest.fixture(scope="session")
def open_once() -> Callable[[Path], Any]:
    """Open an export as `Editor.from_export` does, the first time that it is asked for."""
    from seghgan_tf.editing import Editor

    return functools.cache(Editor.from_export)


@pytest.fixture
def exports_opened_once(open_once: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands of a test edit with what was opened before, where how a model is opened is not what is tested."""
    monkeypatch.setattr("seghgan_tf.editing.Editor.from_export", staticmethod(open_once))


@pytest.fixture
def export(tmp_path: Path, export_v1: Path) -> Path:
    """A folder of versions, with version 1, that a test may change."""
    shutil.copytree(export_v1, tmp_path / "export" / "1")
    return tmp_path / "export"


@pytest.fixture(scope="session")
def rest_ports() -> dict[str, int | None]:
    """The REST port of each running server, by its gRPC address."""
    return {}


@pytest.fixture(scope="session")
def run_server(rest_ports: dict[str, int | None]) -> Callable[..., Any]:
    """A context manager (settings...) -> (engine, address) of an embedded server in this process."""
    from serving.server.engine import Engine
    from serving.server.server import Server
    from serving.server.settings import Settings

    @contextlib.contextmanager
    def run(**settings: Any) -> Iterator[tuple[Engine, str]]:
        engine = Engine(Settings(**{"grpc_port": 0, "rest_port": 0, **settings}))
        engine.start()
        server = Server(engine)
        rest_ports[f"localhost:{server.grpc_port}"] = server.rest_port
        try:
            yield engine, f"localhost:{server.grpc_port}"
        finally:
            server.stop(5.0)
            engine.close()

    return run


@pytest.fixture(scope="session")
def embedded(run_server: Callable[..., Any], export_v1: Path) -> Iterator[tuple[Any, str]]:
    """(engine, address) of a server of version 1 that tests share and do not change."""
    with run_server(model_dir=export_v1.parent) as running:
        yield running


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest) -> str:
    """Address of the server under test: TensorFlow Serving's in SEGHGAN_TFS_ADDRESS, else an embedded one."""
    return os.environ.get("SEGHGAN_TFS_ADDRESS") or request.getfixturevalue("embedded")[1]


@pytest.fixture
def face() -> np.ndarray:
    """A picture (32, 32, 3) of uint8 numbers between 40 and 200."""
    return np.random.default_rng(0).integers(40, 200, (SIZE, SIZE, 3), np.uint8)
