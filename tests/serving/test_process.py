"""The server as a process: it tells its ports, drains at SIGTERM, survives its neighbours' deaths, and explains itself."""

import contextlib
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nursery import Child, Nursery
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc
from typer.testing import CliRunner

from serving import cli
from serving.client import Retry, SegHGANClient
from serving.server import binary, process
from serving.server.process import parser
from serving.server.settings import CONFIG, Settings

FACE = np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


class Process:
    """A server process; `port` is the gRPC port."""

    def __init__(self, nursery: Nursery, export: Path, folder: Path, *flags: str, port: int = 0) -> None:
        self.port_file = folder / f"ports-{time.monotonic_ns()}.json"
        self.log = folder / f"{self.port_file.name}.log"
        words = ["--model-dir", str(export), "--grpc-port", str(port), "--rest-port", "none", *flags]
        self.process = nursery.start([*words, "--port-file", str(self.port_file)], self.log)
        end = time.monotonic() + 240
        while not self.port_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                pytest.fail(self.logs())
            time.sleep(0.02)
        self.port = json.loads(self.port_file.read_text())["grpc"]

    def logs(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


@pytest.fixture
def start(nursery: Nursery, export_v1: Path, tmp_path: Path) -> Any:
    """Start a process over the shared export; all are ended after the test."""
    started: list[Process] = []

    def run(*flags: str, port: int = 0) -> Process:
        started.append(Process(nursery, export_v1.parent, tmp_path, *flags, port=port))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()


def test_sigterm_finishes_what_runs_reports_not_serving_and_exits_0(start: Any) -> None:
    server = start("--lame-duck-seconds", "3600", "--drain-seconds", "1")  # the watcher stays to the end
    seen: queue.Queue[int] = queue.Queue()
    answered = 0
    with (
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
        SegHGANClient(f"localhost:{server.port}") as client,
    ):
        client.served()
        health = health_pb2_grpc.HealthStub(channel)

        def watch() -> None:
            try:
                for one in health.Watch(health_pb2.HealthCheckRequest()):
                    seen.put(one.status)
            except grpc.RpcError:
                return

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert seen.get(timeout=120) == 1
        server.process.send_signal(signal.SIGTERM)
        while seen.empty():
            client.analyze(FACE)
            answered += 1
        assert seen.get() == 2
        client.analyze(FACE)
        assert server.stop() == 0  # a second signal ends the lame duck
        watcher.join()
    assert answered >= 1
    assert not server.port_file.exists()
    lines = [json.loads(line) for line in server.logs().splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines][-1] == "stopped"
    assert {line["server"] for line in lines} == {"embedded"}


@pytest.mark.slow
def test_rest_drains_with_grpc_and_a_full_disk_under_the_log_stops_nothing(export_v1: Path, tmp_path: Path) -> None:
    port_file = tmp_path / "ports.json"
    command = [sys.executable, "-m", "serving.server", "--model-dir", str(export_v1.parent), "--grpc-port", "0"]
    command += [
        "--rest-port",
        "0",
        "--port-file",
        str(port_file),
        "--log-level",
        "debug",
        "--lame-duck-seconds",
        "3600",
        "--drain-seconds",
        "3600",
    ]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(command, stdout=full, stderr=full) as process,
    ):
        try:
            end = time.monotonic() + 240
            while not port_file.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            ports = json.loads(port_file.read_text())
            connection = http.client.HTTPConnection("127.0.0.1", ports["rest"], timeout=120)
            body = json.dumps({"signature_name": "analyze", "instances": FACE[None].tolist()})

            def ask() -> int:
                connection.request("POST", "/v1/models/seghgan:predict", body)
                reply = connection.getresponse()
                reply.read()
                return reply.status

            assert ask() == 200
            with grpc.insecure_channel(f"localhost:{ports['grpc']}") as channel:
                health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
                assert next(health).status == 1
                process.send_signal(signal.SIGTERM)
                assert next(health).status == 2
            assert ask() == 200  # still answered while health says NOT_SERVING
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0  # the kept connection does not hold it up
            connection.close()
        finally:
            process.kill()
    assert not port_file.exists()


def test_two_servers_behind_one_client_survive_restarts_and_a_kill(start: Any) -> None:
    servers = [start() for _ in range(2)]
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    stop = threading.Event()
    answered, failed = [], []

    def load() -> None:
        with SegHGANClient(target, retry=Retry(attempts=5)) as client:
            while not stop.wait(0.02):
                try:
                    client.analyze(FACE)
                    answered.append(1)
                except Exception as error:  # noqa: BLE001  # every failure counts
                    failed.append(repr(error))

    thread = threading.Thread(target=load)
    thread.start()
    for number in (signal.SIGTERM, signal.SIGKILL):
        port = servers[0].port
        servers[0].stop(number)
        servers[0] = start(port=port)
        enough, end = len(answered) + 6, time.monotonic() + 60
        while len(answered) < enough and time.monotonic() < end:
            time.sleep(0.01)
    stop.set()
    thread.join()
    for server in servers:
        assert server.stop() == 0
    assert failed == []
    assert len(answered) > 10


def _until(log: TextIO, words: str) -> None:
    """Read the log until a line has these words."""
    for line in log:
        if words in line:
            return
    pytest.fail(f"the server ended before it said {words}")


@contextlib.contextmanager
def _told(nursery: Nursery, folder: Path, *arguments: str) -> Iterator[tuple[Child, TextIO]]:
    """Run a server and give it and its log, to be read as it is written."""
    os.mkfifo(folder / "log")
    server = nursery.start([*arguments, "--grpc-port", "0", "--rest-port", "0"], folder / "log")
    try:
        with (folder / "log").open() as log:
            yield server, log
    finally:
        server.kill()


@pytest.mark.parametrize("when", ["first", "next"])
def test_sigterm_during_a_load_does_not_wait_for_it(nursery: Nursery, export: Path, tmp_path: Path, when: str) -> None:
    version = export / ("1" if when == "first" else "2")
    port_file = tmp_path / "ports.json"
    port_file.write_text('{"grpc": 1, "rest": 2, "pid": 3}')  # of a server that was killed

    def endless() -> None:
        """Make a version whose manifest is never written to its end."""
        version.mkdir(exist_ok=True)
        (version / "manifest.json").unlink(missing_ok=True)
        os.mkfifo(version / "manifest.json")

    if when == "first":
        endless()
    words = [str(export), "--port-file", str(port_file), "--file-system-poll-wait-seconds", "0.05"]
    with _told(nursery, tmp_path, *words) as (server, log):
        if when == "next":
            _until(log, '"message": "serving"')
            endless()
        _until(log, f'"version": {version.name}, "state": "LOADING"')
        server.send_signal(signal.SIGTERM)
        _until(log, "stopped while loading")
        assert server.wait(120) == 0
    assert not port_file.exists()


def test_sigterm_during_a_load_that_a_client_asked_for_does_not_wait_for_it(
    nursery: Nursery, export: Path, tmp_path: Path
) -> None:
    (export / "2").mkdir()
    os.mkfifo(export / "2" / "manifest.json")  # never written to its end
    port_file = tmp_path / "ports.json"
    base = f'name: "seghgan" base_path: "{export}" model_platform: "tensorflow" model_version_policy'
    config = "model_config_list {{ config {{ {} {{ specific {{ {} }} }} }} }}".format
    (tmp_path / "models.config").write_text(config(base, "versions: 1"))
    words = ["--model-config-file", str(tmp_path / "models.config"), "--port-file", str(port_file), "--allow-reload"]
    with _told(nursery, tmp_path, *words, "--drain-seconds", "1") as (server, log):
        _until(log, '"message": "serving"')
        asked = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config(base, "versions: 1 versions: 2"), asked.config)
        with grpc.insecure_channel(f"localhost:{json.loads(port_file.read_text())['grpc']}") as channel:
            reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest.future(asked)
            _until(log, '"version": 2, "state": "LOADING"')
            server.send_signal(signal.SIGTERM)
            _until(log, "stopped while loading")
            assert server.wait(120) == 0
            assert reload.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(("host", "reached"), [("::1", "[::1]"), ("[::]", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_every_form_of_address_serves_both_protocols(
    run_server: Any, rest_ports: dict[str, int], export_v1: Path, host: str, reached: str
) -> None:
    with run_server(model_dir=export_v1.parent, host=host) as (_, address):
        with SegHGANClient(f"{reached}:{address.rpartition(':')[2]}") as client:
            assert client.status() == {1: ("AVAILABLE", "")}
        connection = http.client.HTTPConnection(reached.strip("[]"), rest_ports[address], timeout=20)
        connection.request("GET", "/v1/models/seghgan")
        assert connection.getresponse().status == 200
        connection.close()


def _fails(nursery: Nursery, folder: Path, *arguments: str) -> tuple[int, str]:
    code = nursery.start(list(arguments), folder / "log").wait(240)
    return code, (folder / "log").read_text().strip().splitlines()[-1]


def test_a_folder_without_models_stops_the_start_with_one_line(nursery: Nursery, tmp_path: Path) -> None:
    code, line = _fails(nursery, tmp_path, "--model-dir", str(tmp_path / "nothing"))
    assert code == 1
    assert line.startswith("error: `model_dir` must be a folder")


def test_wrong_usage_exits_2() -> None:
    ran = subprocess.run([sys.executable, "-m", "serving.server"], capture_output=True, text=True, timeout=240)
    assert ran.returncode == 2
    assert "neither" in ran.stderr.strip().splitlines()[-1]


def test_a_taken_port_is_named(nursery: Nursery, embedded: Any, export_v1: Path, tmp_path: Path) -> None:
    port = embedded[1].rsplit(":", 1)[1]
    code, line = _fails(nursery, tmp_path, "--model-dir", str(export_v1.parent), "--grpc-port", port)
    assert code == 1
    assert f"`grpc_port` free; is another server running? Received: 127.0.0.1:{port}" in line


@pytest.fixture
def app() -> Any:
    import typer

    app = typer.Typer()
    app.command(context_settings=cli.SERVE)(cli.serve)
    app.command()(cli.status)
    app.command()(cli.bench_serve)
    return app


def test_status_shows_versions_and_signatures(app: Any, address: str) -> None:
    ran = CliRunner().invoke(app, ["status", "--server", address])
    assert "version 1: AVAILABLE  <- answers" in ran.output
    assert "images of 32 px, expressions of 3 numbers" in ran.output
    parsed = json.loads(CliRunner().invoke(app, ["status", "--server", address, "--json"]).output)
    assert parsed["versions"]["1"]["state"] == "AVAILABLE"


def test_bench_serve_measures(app: Any, address: str) -> None:
    ran = CliRunner().invoke(app, ["bench-serve", "--server", address, "--seconds", "0.3", "--clients", "2"])
    figures = json.loads(ran.output)
    assert figures["errors"] == {}
    assert figures["requests"] > 0


def test_serve_prints_the_docker_command(app: Any, export_v1: Path) -> None:
    ran = CliRunner().invoke(app, ["serve", str(export_v1.parent), "--docker"])
    assert "--enable_profiler=false" in ran.output
    assert binary.IMAGE in ran.output
    ran = CliRunner().invoke(
        app, ["serve", str(export_v1.parent), "--docker", "--max-waiting", "3", "--grpc-port", "9"]
    )
    assert (ran.exit_code, "--grpc-port, --max-waiting" in ran.output) == (1, True)


def test_the_binary_backend_runs_the_binary_on_path_with_the_shipped_configuration(
    export_v1: Path, tmp_path: Path
) -> None:
    stand_in = tmp_path / "tensorflow_model_server"
    stand_in.write_text('#!/bin/sh\nfor flag in "$@"; do echo "$flag"; done\n')
    stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def serve(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.server", str(export_v1.parent), *flags]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)

    batching = tmp_path / "mine.pbtxt"
    batching.write_text("max_batch_size { value: 4 }")
    ran = serve("--host", "0.0.0.0", "--batching-parameters-file", str(batching))  # as the binary does
    flags = ran.stdout.split()
    assert f"--model_base_path={export_v1.parent}" in flags
    assert f"--batching_parameters_file={batching}" in flags
    assert f"--monitoring_config_file={CONFIG}/monitoring.config" in flags
    assert "backend: binary" in ran.stderr
    assert "--enable_serialization_as_tensor_content=true" in flags
    narrow = serve("--backend", "binary", "--max-in-flight", "3", "--port-file", "p.json")
    assert narrow.returncode == 1
    assert "--port-file, --max-in-flight" in narrow.stderr
    assert "every interface, not on 127.0.0.1 alone" in narrow.stderr


def test_the_binary_answers_in_float_val_where_strict_compatibility_is_asked_for(export_v1: Path) -> None:
    settings = Settings(model_dir=export_v1.parent, host="0.0.0.0", strict_compatibility=True)
    flags = binary.command(settings, "tensorflow_model_server")
    assert "--enable_serialization_as_tensor_content=false" in flags


def test_auto_takes_the_embedded_server_where_the_binary_would_widen_the_address(
    export_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = tmp_path / "tensorflow_model_server"
    stand_in.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    taken = process._binary(Settings(model_dir=export_v1.parent), "auto")
    assert taken is None
    assert "backend: embedded (tensorflow_model_server is on PATH, but it listens on every" in capsys.readouterr().err


def test_without_the_binary_its_backend_is_refused_with_the_docker_command(
    app: Any, export_v1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    ran = CliRunner().invoke(app, ["serve", str(export_v1.parent), "--backend", "binary"])
    assert ran.exit_code == 1
    assert "docker run" in ran.output


def test_switches_are_on_or_off_and_take_no_word():
    parse = parser().parse_args
    assert parse([]).allow_reload is False
    assert parse(["--allow-reload"]).allow_reload is True
    assert parse(["--no-enable-model-warmup"]).enable_model_warmup is False
    with pytest.raises(SystemExit):
        parse(["EXPORT", "--allow-reload", "False"])
