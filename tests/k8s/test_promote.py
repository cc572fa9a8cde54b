"""Promotion and rollback on real servers that read `models.config` as the manifests tell them to, and on a ConfigMap."""

import contextlib
import http.server
import json
import shutil
import ssl
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seghgan_tf import cli
from serving.client import SegHGANClient
from serving.release import promote
from serving.server.models_config import read_models
from serving.server.settings import CONFIG, Settings

trustme = pytest.importorskip("trustme", reason="makes certificates: pip install trustme (extra dev)")


@contextlib.contextmanager
def running(exports, tmp_path, **tls):
    """(models.config, folder of versions, address) of a server that reads both every 0.2 s."""
    from serving.server.engine import Engine
    from serving.server.server import Server

    folder, config = tmp_path / "models", tmp_path / "models.config"
    shutil.copytree(exports, folder)
    config.write_text((CONFIG / "models.config").read_text().replace("/models/seghgan", str(folder)))
    engine = Engine(
        Settings(
            model_config_file=config,
            model_config_file_poll_wait_seconds=0.2,
            file_system_poll_wait_seconds=0.2,
            grpc_port=0,
            rest_port=None,
            **tls,
        )
    )
    engine.start()
    server = Server(engine)
    yield config, folder, f"localhost:{server.grpc_port}"
    server.stop(5.0)
    engine.close()


@pytest.fixture
def fleet(exports, tmp_path):
    with running(exports, tmp_path) as one:
        yield one


def answering(address: str, label: str) -> int:
    with SegHGANClient(address, label=label) as client:
        return client.served().version


def test_canary_stable_and_back(fleet):
    config, _, address = fleet
    for version, label in ((2, "canary"), (2, "stable"), (1, "stable")):
        arguments = ["promote", str(version), "--label", label, "--config-file", str(config), "--server", address]
        ran = CliRunner().invoke(cli.app, [*arguments, "--timeout", "30"])
        assert ran.exception is None
        assert f"{label} names version {version}" in ran.output
        assert answering(address, label) == version
    assert read_models(config)["seghgan"].versions == (1, 2)


def test_servers_with_mtls_are_asked_with_the_commands_certificate(exports, tmp_path):
    self_signed(tmp_path)
    keys = {"tls_key": tmp_path / "key.pem", "tls_cert": tmp_path / "chain.pem", "tls_client_ca": tmp_path / "ca.crt"}
    with running(exports, tmp_path, **keys) as (config, _, address):
        arguments = ["promote", "2", "--config-file", str(config), "--server", address, "--timeout", "30"]
        tls = {"ca": "ca.crt", "cert": "chain.pem", "key": "key.pem"}
        arguments += [word for name, file in tls.items() for word in (f"--tls-{name}", str(tmp_path / file))]
        ran = CliRunner().invoke(cli.app, arguments)
    assert ran.exception is None
    assert read_models(config)["seghgan"].labels == {"canary": 2, "stable": 1}


def test_a_version_that_answers_nan_is_taken_back_and_the_labels_stay(fleet):
    from fake_export import write_export

    config, folder, address = fleet
    write_export(folder, 3, strength=float("nan"))
    before = config.read_text()
    with pytest.raises(ValueError, match="must be finite"):
        promote.promote(promote.ConfigFile(config), 3, "stable", address, timeout=30)
    assert config.read_text() == before
    assert answering(address, "stable") == 1


def test_a_promotion_that_is_interrupted_leaves_a_valid_file(fleet, monkeypatch):
    config, _, address = fleet
    before = config.read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        promote.promote(promote.ConfigFile(config), 2, "canary", address, timeout=30)
    assert config.read_text() == before


def test_a_version_that_cannot_be_loaded_is_taken_back_and_the_labels_stay(fleet):
    config, folder, address = fleet
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    before = config.read_text()
    with pytest.raises(ValueError, match="cannot load version 2"):
        promote.promote(promote.ConfigFile(config), 2, "stable", address, timeout=30)
    assert config.read_text() == before
    assert answering(address, "stable") == 1


def test_a_version_that_failed_and_was_mended_is_promoted_under_the_same_number(fleet):
    config, folder, address = fleet
    sound = (folder / "2" / "saved_model.pb").read_bytes()
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot load version 2"):
        promote.promote(promote.ConfigFile(config), 2, "stable", address, timeout=10)
    (folder / "2" / "saved_model.pb").write_bytes(sound)
    promote.promote(
        promote.ConfigFile(config), 2, "stable", address, timeout=60
    )  # the server may tell of the failure yet
    assert answering(address, "stable") == 2


def test_a_load_that_fails_for_a_passing_reason_does_not_end_a_promotion(fleet, monkeypatch):
    config, folder, address = fleet
    sound = (folder / "2" / "saved_model.pb").read_bytes()
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    seen = []

    def status(self):
        found = asked(self)
        if found.get(2, ("", ""))[1] and not seen:
            seen.append(found[2])
            (folder / "2" / "saved_model.pb").write_bytes(sound)
        return found

    asked = SegHGANClient.status
    monkeypatch.setattr(SegHGANClient, "status", status)
    promote.promote(promote.ConfigFile(config), 2, "stable", address, timeout=300)
    assert seen
    assert answering(address, "stable") == 2


def test_a_withdrawn_version_that_failed_alerts_nobody(fleet):
    config, folder, address = fleet
    (folder / "2" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot load version 2"):
        promote.promote(promote.ConfigFile(config), 2, "stable", address, timeout=10)
    with SegHGANClient(address) as client:
        while client.status()[2] != ("END", ""):
            time.sleep(0.05)


def test_a_version_that_is_not_there_is_taken_back_in_time(fleet):
    config, _, address = fleet
    before = config.read_text()
    with pytest.raises(TimeoutError, match="Loading version 7"):
        promote.promote(promote.ConfigFile(config), 7, "canary", address, timeout=1)
    assert config.read_text() == before


def test_the_gate_keeps_a_worse_model_from_promotion_and_lets_a_better_one_through(fleet):
    config, folder, address = fleet
    gate = ["gate", str(folder), "--models-config", str(config)]
    chain = ["promote", "2", "--label", "stable", "--config-file", str(config), "--server", address, "--timeout", "30"]

    def figures(version, miou):
        path = folder / str(version) / "manifest.json"
        found = json.loads(path.read_text())
        found["training"]["figures"] = {"miou": miou, "error_ratio": 0.6}
        path.write_text(json.dumps(found))

    figures(1, 0.86)
    figures(2, 0.80)
    assert CliRunner().invoke(cli.app, gate).exception.exit_status == 3
    assert answering(address, "stable") == 1
    figures(2, 0.88)
    assert CliRunner().invoke(cli.app, gate).exception is None
    assert CliRunner().invoke(cli.app, chain).exception is None
    assert answering(address, "stable") == 2
    promote.promote(promote.ConfigFile(config), 1, "stable", address, timeout=30)
    assert answering(address, "stable") == 1


def test_a_third_version_is_refused_since_servers_hold_two(fleet):
    config, _, address = fleet
    text = config.read_text().replace("versions: 1", "versions: 1 versions: 2")
    config.write_text(text.replace('"canary" value: 1', '"canary" value: 2'))
    with pytest.raises(ValueError, match="room for 2 versions"):
        promote.promote(promote.ConfigFile(config), 3, "canary", address, timeout=1)


def test_latest_is_refused(tmp_path):
    config = Path(__file__).parents[2] / "k8s" / "overlays" / "dev" / "models.config"
    with pytest.raises(ValueError, match="one by one"):
        promote.promote(promote.ConfigFile(config), 2, "stable", "localhost:1", timeout=1)


class Api(http.server.BaseHTTPRequestHandler):
    """The two answers of an API server that a promotion asks for, with its check of resourceVersion."""

    config = {"metadata": {"resourceVersion": "7"}, "data": {"models.config": "old", "other": "stays"}}  # noqa: RUF012
    asked: list = []  # noqa: RUF012

    def _answer(self, code: int) -> None:
        body = json.dumps(self.config).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path, self.headers["Authorization"]))
        self._answer(200)

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(("PATCH", self.path, self.headers["Content-Type"]))
        if patch["metadata"]["resourceVersion"] != self.config["metadata"]["resourceVersion"]:
            self._answer(409)
            return
        self.config["data"] |= patch["data"]
        self.config["metadata"] = {"resourceVersion": str(int(self.config["metadata"]["resourceVersion"]) + 1)}
        self._answer(200)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def api(tmp_path):
    """Address and service account folder of a TLS server that behaves as Kubernetes' API for one ConfigMap."""
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("secret-token\n")
    self_signed(account)
    server = http.server.HTTPServer(("127.0.0.1", 0), Api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account / "chain.pem", account / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}", account
    server.shutdown()
    thread.join()
    server.server_close()


def self_signed(folder: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())


def test_a_config_map_is_read_and_patched_with_the_pods_own_token(api):
    address, account = api
    store = promote.ConfigMap("seghgan", "seghgan-models", address, account)
    assert store.read() == "old"
    store.write("new")
    store.write("newer")
    assert Api.config["data"] == {"models.config": "newer", "other": "stays"}
    path = "/api/v1/namespaces/seghgan/configmaps/seghgan-models?fieldManager=seghgan-promote"
    assert Api.asked[0] == ("GET", path, "Bearer secret-token")
    assert Api.asked[1] == ("PATCH", path, "application/merge-patch+json")


def test_a_change_by_somebody_else_is_not_overwritten(api):
    address, account = api
    store = promote.ConfigMap("seghgan", "seghgan-models", address, account)
    store.read()
    Api.config["metadata"] = {"resourceVersion": "99"}
    with pytest.raises(OSError, match="409"):
        store.write("lost update")


def test_outside_a_cluster_the_config_map_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="--config-file"):
        promote.ConfigMap("seghgan", "seghgan-models", account=tmp_path).read()
