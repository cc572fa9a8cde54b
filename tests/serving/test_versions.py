"""Versions come and go while requests are answered; broken folders change nothing; labels move by their rules."""

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from seghgan_tf.files import sha256
from serving.bundle.warmup import WARMUP
from serving.client import SegHGANClient
from serving.server.engine import Engine, Question
from serving.server.errors import ServingError
from serving.server.models_config import ServedModel, read_models
from serving.server.servable import Servable
from serving.server.settings import Settings
from serving.server.versions import Models
from serving.server.watch import STUCK_SECONDS, Watcher

IMAGE = np.zeros((1, 32, 32, 3), np.float32)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("it did not happen in time")
        time.sleep(0.01)


def states(engine: Engine) -> dict[int, str]:
    return {one.version: one.state.name for one in engine.models.status("seghgan")}


def edit(engine: Engine, **choice: Any) -> tuple[int, float]:
    inputs = {
        "image": IMAGE,
        "expression": np.ones((1, 3), np.float32),
        "regions": np.float32([[1, 0, 0, 0]]),
    }
    asked = Question("seghgan", lambda _: inputs, **choice)
    answer = asyncio.run(engine.predict(lambda: asked, lambda given: given))
    return answer.version, float(answer.outputs["edited"][0, 0, 0, 0])


@pytest.fixture
def engine(export: Path) -> Any:
    made = Engine(Settings(model_dir=export, file_system_poll_wait_seconds=0))
    made.start()
    yield made
    made.close()


def test_a_new_version_replaces_the_old_one_without_a_failed_call(
    run_server: Any, export: Path, export_v2: Path
) -> None:
    with run_server(model_dir=export, file_system_poll_wait_seconds=0.05) as (engine, address):
        answers: list[tuple[int, float]] = []
        stop = threading.Event()

        def load() -> None:
            with SegHGANClient(address) as client:
                while not stop.is_set():
                    reply = client.predict(
                        "serving_default",
                        {
                            "image": IMAGE,
                            "expression": np.ones((1, 3), np.float32),
                            "regions": np.float32([[1, 0, 0, 0]]),
                        },
                    )
                    answers.append((reply.version, float(reply.outputs["edited"][0, 0, 0, 0])))

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            shutil.copytree(export_v2, export / ".part")
            (export / ".part").rename(export / "2")
            wait_for(lambda: states(engine) == {2: "AVAILABLE", 1: "END"})
            shutil.rmtree(export / "2")
            wait_for(lambda: states(engine) == {2: "END", 1: "AVAILABLE"})
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {(1, 0.5), (2, 0.25)}


def test_calls_in_flight_finish_on_their_version(engine: Engine, export: Path, export_v2: Path) -> None:
    with engine.models.use("seghgan") as held:
        shutil.copytree(export_v2, export / "2")
        polling = threading.Thread(target=engine.models.poll)
        polling.start()
        wait_for(lambda: states(engine).get(1) == "UNLOADING")
        assert edit(engine) == (2, 0.25)
        assert held.endpoint("analyze").run({"image": IMAGE})["expression"].shape == (1, 3)
    polling.join()
    wait_for(lambda: states(engine) == {2: "AVAILABLE", 1: "END"})


def test_a_version_that_is_wanted_again_while_a_call_holds_it_answers_again(
    engine: Engine, export: Path, export_v2: Path
) -> None:
    with engine.models.use("seghgan") as held:
        shutil.copytree(export_v2, export / "2")
        engine.models.poll()
        assert states(engine) == {2: "AVAILABLE", 1: "UNLOADING"}
        shutil.rmtree(export / "2")
        engine.models.poll()
        assert states(engine) == {2: "END", 1: "AVAILABLE"}
        assert edit(engine) == (1, 0.5)
    with engine.models.use("seghgan") as again:
        assert again is held
    shutil.copytree(export_v2, export / "2")
    engine.models.poll()
    assert states(engine) == {2: "AVAILABLE", 1: "END"}


def test_a_model_that_is_taken_out_while_a_call_holds_it_is_gone_after_the_call(engine: Engine) -> None:
    with engine.models.use("seghgan") as held:
        engine.models.reconfigure({})
        assert [one.state.name for one in engine.models.versions("seghgan")] == ["UNLOADING"]
        assert held.endpoint("analyze").run({"image": IMAGE})["expression"].shape == (1, 3)
    wait_for(lambda: engine.models.versions("seghgan") == [])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bad_warmup(folder: Path) -> None:
    (folder / WARMUP).write_bytes(b"garbage" * 30)
    _rewrite(folder, lambda manifest: manifest["files"].update({WARMUP.as_posix(): sha256(folder / WARMUP)}))


def _rewrite(folder: Path, change: Callable[[dict], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _wrong_tensor(folder: Path) -> None:
    """Let a signature name a tensor that the graph lacks, under a right hash."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    model.meta_graphs[0].signature_def["analyze"].outputs["expression"].name = "nowhere:0"
    path.write_bytes(model.SerializeToString())
    _rewrite(folder, lambda manifest: manifest["files"].update({"saved_model.pb": sha256(path)}))


FAULTS = {
    "truncated saved_model.pb": lambda folder: _truncate(folder / "saved_model.pb"),
    "corrupt variables": lambda folder: _truncate(folder / "variables" / "variables.data-00000-of-00001"),
    "missing variables": lambda folder: shutil.rmtree(folder / "variables"),
    "another export's manifest": lambda folder: shutil.copy(folder.parent / "1" / "manifest.json", folder),
    "half-written folder": lambda folder: (folder / "manifest.json").unlink(),
    "empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "broken manifest": lambda folder: (folder / "manifest.json").write_text('{"manifest'),
    "bad warmup": _bad_warmup,
    "wrong tensor name": _wrong_tensor,
    "no range of the expression": lambda folder: _rewrite(
        folder, lambda manifest: manifest["model"]["expression"].pop("low")
    ),
    "a range that holds nothing": lambda folder: _rewrite(
        folder, lambda manifest: manifest["model"]["expression"].update(low=5.0)
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_version_serves_on_beside_a_broken_one(
    engine: Engine, export: Path, export_v2: Path, fault: str
) -> None:
    shutil.copytree(export_v2, export / "2")
    FAULTS[fault](export / "2")
    engine.models.poll()
    assert edit(engine) == (1, 0.5)
    broken = engine.models.status("seghgan", 2)[0]
    assert broken.state.name == "END"
    assert broken.code is not grpc.StatusCode.OK
    assert broken.message
    assert str(export) not in broken.message
    shutil.rmtree(export / "2")
    shutil.copytree(export_v2, export / "2")
    engine.models.poll()
    assert edit(engine) == (2, 0.25)


def _served(export: Path, load: Callable[[str, int, Path], Servable], retry_seconds: float) -> Models:
    return Models({"seghgan": ServedModel("seghgan", export)}, load, retry_seconds=retry_seconds)


def test_a_load_that_failed_for_a_passing_reason_is_tried_again(export: Path) -> None:
    tried = []

    def load(name: str, version: int, folder: Path) -> Servable:
        tried.append(version)
        if len(tried) < 3:
            raise RuntimeError("no memory just now")
        return Servable(name, version, folder, None)

    models = _served(export, load, 0.0)
    models.poll()
    assert models.status("seghgan")[0].message == "no memory just now"
    models.poll()
    models.poll()
    assert models.status("seghgan")[0].state.name == "AVAILABLE"
    models.poll()
    assert len(tried) == 3
    models.close()


def test_a_load_that_failed_waits_unless_its_folder_changes(export: Path) -> None:
    tried = []

    def load(_name: str, version: int, _folder: Path) -> Servable:
        tried.append(version)
        raise OSError("disk")

    models = _served(export, load, 1000.0)
    models.poll()
    models.poll()
    assert tried == [1]
    (export / "1" / "note.txt").touch()
    models.poll()
    assert tried == [1, 1]


def test_a_version_that_failed_and_was_withdrawn_is_tried_at_once_when_it_is_wanted_again(
    export: Path, export_v2: Path
) -> None:
    shutil.copytree(export_v2, export / "2")
    failing = [2]

    def load(name: str, version: int, folder: Path) -> Servable:
        if version in failing:
            raise OSError("no room just now")
        return Servable(name, version, folder, None)

    models = Models({"seghgan": ServedModel("seghgan", export, (1,))}, load, retry_seconds=1000.0)
    models.poll()
    models.reconfigure({"seghgan": ServedModel("seghgan", export, (1, 2))})
    assert models.status("seghgan", 2)[0].message == "no room just now"
    models.reconfigure({"seghgan": ServedModel("seghgan", export, (1,))})
    assert [one.message for one in models.versions("seghgan")] == ["", ""]
    failing.clear()
    models.reconfigure({"seghgan": ServedModel("seghgan", export, (1, 2))})
    assert [one.state.name for one in models.versions("seghgan")] == ["AVAILABLE", "AVAILABLE"]
    models.close()


def test_the_watcher_survives_whatever_it_meets(export: Path, tmp_path: Path) -> None:
    asked = threading.Semaphore(0)
    config_file = tmp_path / "models.config"

    def configs() -> dict[str, ServedModel]:
        asked.release()
        raise KeyError("what nobody foresaw")

    settings = Settings(model_config_file=config_file, model_config_file_poll_wait_seconds=0.01)
    watcher = Watcher(Models({}, lambda *_: None), settings, configs)
    watcher.start()
    for _ in range(3):
        assert asked.acquire(timeout=30)
    assert watcher.alive
    assert watcher.stop(30)


def test_a_watcher_that_hangs_in_a_look_is_told_from_one_that_looks(tmp_path: Path) -> None:
    looks, goes_on = threading.Semaphore(0), threading.Semaphore(0)
    now = [0.0]

    def configs() -> dict[str, ServedModel]:
        looks.release()
        goes_on.acquire(timeout=60)
        return {}

    settings = Settings(model_config_file=tmp_path / "x", model_config_file_poll_wait_seconds=0.01)
    watcher = Watcher(Models({}, lambda *_: None), settings, configs, lambda: now[0])
    watcher.start()
    assert looks.acquire(timeout=60)
    now[0] = STUCK_SECONDS  # as long as a load may take
    assert watcher.alive
    now[0] = STUCK_SECONDS + 1
    assert not watcher.alive
    goes_on.release()
    assert looks.acquire(timeout=60)  # it has looked, and looks again
    assert watcher.alive
    goes_on.release(1000)
    assert watcher.stop(60)
    assert not watcher.alive


def test_a_version_may_have_zeros_before_its_number(engine: Engine, export: Path, export_v2: Path) -> None:
    shutil.copytree(export_v2, export / "00000123")
    engine.models.poll()
    assert edit(engine) == (123, 0.25)


def test_health_follows_the_configuration(run_server: Any, export: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(config(export, [1], stable=1))
    with (
        run_server(model_config_file=path, file_system_poll_wait_seconds=0) as (engine, address),
        grpc.insecure_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        path.write_text(config(export, [1, 7], stable=1, canary=7))
        engine.models.reconfigure(read_models(path))
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        path.write_text(config(export, [1], stable=1))
        engine.models.reconfigure(read_models(path))
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        health.cancel()


@pytest.mark.parametrize("year_in_seconds", [0, 4_000_000_000])
def test_a_clock_that_jumped_keeps_no_version_from_loading(
    engine: Engine, export: Path, export_v2: Path, monkeypatch: pytest.MonkeyPatch, year_in_seconds: int
) -> None:
    shutil.copytree(export_v2, export / "2")
    for path in (export / "2").rglob("*"):
        os.utime(path, (year_in_seconds, year_in_seconds))
    monkeypatch.setattr(time, "time", lambda: float(year_in_seconds))
    engine.models.poll()
    assert edit(engine) == (2, 0.25)


def test_a_vanished_folder_changes_nothing(engine: Engine, export: Path) -> None:
    export.rename(export.with_name("away"))
    engine.models.poll()
    assert edit(engine) == (1, 0.5)
    assert "cannot be read" in engine.models.troubles["seghgan"]


@pytest.mark.parametrize("name", ["-1", "1.5", "v3", str(1 << 63), "٣", "3.part"])
def test_folders_that_are_no_version_are_passed_over(engine: Engine, export: Path, export_v2: Path, name: str) -> None:
    shutil.copytree(export_v2, export / name)
    engine.models.poll()
    assert states(engine) == {1: "AVAILABLE"}


def test_a_start_without_a_servable_version_says_why(export: Path) -> None:
    (export / "1" / "saved_model.pb").unlink()
    engine = Engine(Settings(model_dir=export))
    with pytest.raises(ValueError, match=r"No version of seghgan can be served: version 1: The export lacks"):
        engine.start()
    (export / "1" / "saved_model.pb").touch()
    with pytest.raises(ValueError, match=r"folder above the version folders"):
        Engine(Settings(model_dir=export / "1"))


CONFIG = """model_config_list {{ config {{
  name: "seghgan" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ {versions} }} }} {labels} }} }}"""


def config(export: Path, versions: list[int], **labels: int) -> str:
    return CONFIG.format(
        base=export,
        versions=" ".join(f"versions: {version}" for version in versions),
        labels=" ".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in labels.items()),
    )


def test_labels_follow_models_config_and_move_only_to_available_versions(
    export: Path, export_v2: Path, tmp_path: Path
) -> None:
    path = tmp_path / "models.config"
    path.write_text(config(export, [1], stable=1, canary=1))
    engine = Engine(Settings(model_config_file=path, file_system_poll_wait_seconds=0))
    engine.start()
    try:
        assert edit(engine, label="stable") == (1, 0.5)
        with pytest.raises(ServingError) as unknown:
            edit(engine, label="nightly")
        assert unknown.value.code is grpc.StatusCode.INVALID_ARGUMENT
        shutil.copytree(export_v2, export / "2")
        path.write_text(config(export, [1, 2], stable=1, canary=2))
        with pytest.raises(ServingError) as early:
            engine.models.reconfigure(read_models(path))
        assert early.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert states(engine) == {1: "AVAILABLE"}
        path.write_text(config(export, [1, 2], stable=1, canary=1))
        engine.models.reconfigure(read_models(path))
        path.write_text(config(export, [1, 2], stable=1, canary=2))
        engine.models.reconfigure(read_models(path))
        assert edit(engine, label="stable") == (1, 0.5)
        assert edit(engine, label="canary") == (2, 0.25)
        assert engine.ready()
    finally:
        engine.close()


def test_the_watched_models_config_is_followed_and_an_unreadable_one_is_not(
    run_server: Any, export: Path, export_v2: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(export_v2, export / "2")
    path = tmp_path / "models.config"
    path.write_text(config(export, [1]))
    with run_server(model_config_file=path, model_config_file_poll_wait_seconds=0.05) as (engine, _):
        path.write_text("model_config_list { config { name: ")
        wait_for(lambda: "models.config keeps its old meaning" in caplog.text)
        assert edit(engine) == (1, 0.5)
        path.write_text(config(export, [1, 2]))
        wait_for(lambda: states(engine) == {1: "AVAILABLE", 2: "AVAILABLE"})
        path.write_text(config(export, [1]))
        wait_for(lambda: states(engine) == {1: "AVAILABLE", 2: "END"})


def test_a_missing_label_makes_the_server_not_ready(export: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(config(export, [1, 7], stable=7))
    engine = Engine(Settings(model_config_file=path, file_system_poll_wait_seconds=0))
    engine.start()
    try:
        assert not engine.ready()
        assert edit(engine) == (1, 0.5)
        with pytest.raises(ServingError, match=r"Specific\(seghgan, 7\)"):
            edit(engine, label="stable")
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a model_config_list"),
        ("model_config_list { config { name: 'a b' base_path: '/x' } }", "`name` must match"),
        ("model_config_list { config { name: 'a' } }", "`base_path`"),
        ("model_config_list { config { name: 'a' base_path: '/x' model_platform: 'onnx' } }", "`model_platform`"),
        ("model_config_list { config { name: 'a' base_path: '/x' } config { name: 'a' base_path: '/y' } }", "twice"),
        (
            "model_config_list { config { name: 'a' base_path: '/x' model_version_policy { specific {} } } }",
            "`specific`",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/x' version_labels { key: 'x-y' value: 1 } } }",
            "version_labels",
        ),
        (
            "model_config_list { config { name: 'a' base_path: '/x' model_version_policy { specific { versions: 1 } } version_labels { key: 'x' value: 2 } } }",
            "must name one of",
        ),
        ("model_config_list { nonsense }", "ModelServerConfig"),
    ],
)
def test_an_impossible_models_config_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_models(path)


def test_the_shipped_models_config_can_be_read() -> None:
    from serving.server.settings import CONFIG as FOLDER

    model = read_models(FOLDER / "models.config")["seghgan"]
    assert set(model.labels) == {"stable", "canary"}
    assert set(model.labels.values()) <= set(model.versions)


def test_allowed_clients_reload_over_grpc(run_server: Any, export: Path) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    with (
        run_server(model_dir=export, allow_reload=True) as (engine, address),
        grpc.insecure_channel(address) as channel,
    ):
        reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        request = model_management_pb2.ReloadConfigRequest()
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            reload(request, timeout=20)
        text_format.Parse(config(export, [1], stable=1), request.config)
        assert reload(request, timeout=20).status.error_code == 0
        assert edit(engine, label="stable") == (1, 0.5)
        request.config.model_config_list.ClearField("config")
        assert reload(request, timeout=20).status.error_code == 0
        with pytest.raises(ServingError, match=r"Latest\(seghgan\)"):
            edit(engine)


def test_a_failure_is_told_until_a_load_succeeds(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    told = []

    def load(_name: str, _number: int, _folder: Path) -> Any:
        told.extend((one.state.name, one.message) for one in models.versions("seghgan"))
        if len(told) < 3:
            raise ValueError("broken")
        return object()

    models = Models({"seghgan": ServedModel("seghgan", tmp_path)}, load, retry_seconds=0.0)
    for _ in range(3):
        models.poll()
    assert told == [("LOADING", ""), ("LOADING", "broken"), ("LOADING", "broken")]
    assert [(one.state.name, one.message) for one in models.versions("seghgan")] == [("AVAILABLE", "")]


def test_a_version_that_loads_while_its_model_is_taken_out_and_another_ends_is_unloaded(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    served = ServedModel("seghgan", tmp_path, versions=(1,))
    begun, go, closed = threading.Event(), threading.Event(), []

    class Loaded:
        def __init__(self, number: int) -> None:
            self.close = lambda: closed.append(number)

    def load(_name: str, number: int, _folder: Path) -> Any:
        if number == 3:
            begun.set()
            if not go.wait(60):
                raise TimeoutError("the end of version 1")
        return Loaded(number)

    models = Models({"seghgan": served}, load)
    models.poll()
    with models.use("seghgan"):
        models.reconfigure({"seghgan": served._replace(versions=(2,))})
        (tmp_path / "3").mkdir()
        changes = [
            threading.Thread(target=models.reconfigure, args=(configs,))
            for configs in ({"seghgan": served._replace(versions=(2, 3))}, {})
        ]
        changes[0].start()
        assert begun.wait(60)
        changes[1].start()
        wait_for(lambda: not models.names)
    wait_for(lambda: closed == [1] and not any(one.name == "unload" for one in threading.enumerate()))
    go.set()
    for change in changes:
        change.join(60)
    assert sorted(closed) == [1, 2, 3]
    assert models.versions("seghgan") == []
