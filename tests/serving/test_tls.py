"""TLS and mTLS: one kind of client is accepted, every other is not, and certificates change without a dropped call."""

import datetime
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.cli import app as seghgan
from serving import cli
from serving.client import TLS, ClientError, Retry, SegHGANClient
from serving.server.settings import Settings

trustme = pytest.importorskip("trustme", reason="makes certificates: pip install trustme (extra dev)")

FACE = np.zeros((32, 32, 3), np.uint8)


class Certificates:
    """An authority, the server's files, and clients' credentials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.issue_server()
        (folder / "clients.pem").write_bytes(self.authority.cert_pem.bytes())

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_key": self.folder / "key.pem", "tls_cert": self.folder / "cert.pem"}

    def issue_server(self, name: str = "localhost") -> None:
        issued = self.authority.issue_cert(name)
        (self.folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
        (self.folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def https(self, port: int) -> http.client.HTTPSConnection:
        trusting = ssl.create_default_context(cadata=self.authority.cert_pem.bytes().decode())
        return http.client.HTTPSConnection("localhost", port, timeout=20, context=trusting)

    def client(self, name: str = "editor", authority: Any = None, expired: bool = False) -> TLS:
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        long_ago = past - datetime.timedelta(days=1)
        dates = {"not_after": past, "not_before": long_ago} if expired else {}
        issued = (authority or self.authority).issue_cert(name, common_name=name, **dates)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return TLS(self.authority.cert_pem.bytes(), chain, issued.private_key_pem.bytes())


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def works(address: str, tls: TLS | None) -> bool:
    with SegHGANClient(address, tls, timeout=5.0, retry=Retry(attempts=1)) as client:
        try:
            client.analyze(FACE)
        except ClientError:
            return False
    return True


def test_mtls_accepts_the_named_client_and_refuses_five_others(
    run_server: Any, export: Path, certificates: Certificates
) -> None:
    ca = certificates.folder / "clients.pem"
    with run_server(model_dir=export, **certificates.settings, tls_client_ca=ca, client_identities=("editor",)) as (
        _,
        address,
    ):
        assert works(address, certificates.client())
        refused = {
            "no certificate": TLS(certificates.authority.cert_pem.bytes()),
            "another authority": certificates.client(authority=trustme.CA()),
            "expired": certificates.client(expired=True),
            "another name": certificates.client("stranger"),
            "plain text": None,
        }
        assert [name for name, tls in refused.items() if works(address, tls)] == []
        assert works(address, certificates.client())


def test_a_client_refuses_a_server_of_another_name_or_authority(
    run_server: Any, export: Path, certificates: Certificates
) -> None:
    with run_server(model_dir=export, **certificates.settings) as (_, address):
        assert works(address, TLS(certificates.authority.cert_pem.bytes()))
        assert not works(address, TLS(trustme.CA().cert_pem.bytes()))
        assert not works(address, TLS(certificates.authority.cert_pem.bytes(), server_name="elsewhere"))


def test_new_certificates_are_taken_up_and_open_connections_live_on(
    run_server: Any, export: Path, certificates: Certificates
) -> None:
    with run_server(model_dir=export, **certificates.settings) as (_, address):
        before = TLS(certificates.authority.cert_pem.bytes())
        with SegHGANClient(address, before, retry=Retry(attempts=1)) as open_client:
            open_client.analyze(FACE)
            (certificates.folder / "cert.pem").write_text("half a file")
            assert works(address, before)
            certificates.authority = trustme.CA()
            certificates.issue_server()
            after = TLS(certificates.authority.cert_pem.bytes())
            assert works(address, after)
            assert not works(address, before)
            open_client.analyze(FACE)


def ssl_config(certificates: Certificates, verify: bool) -> Path:
    def quoted(name: str) -> str:
        return '"' + (certificates.folder / name).read_text().replace("\n", "\\n") + '"'

    path = certificates.folder / "ssl.config"
    path.write_text(
        f"server_key: {quoted('key.pem')} server_cert: {quoted('cert.pem')} "
        f"custom_ca: {quoted('clients.pem')} client_verify: {str(verify).lower()}"
    )
    return path


@pytest.mark.parametrize("verify", [True, False])
def test_tensorflow_servings_ssl_config_is_read(
    run_server: Any, rest_ports: dict[str, int], export: Path, certificates: Certificates, verify: bool
) -> None:
    body = json.dumps({"signature_name": "analyze", "instances": FACE[None].tolist()})
    with run_server(model_dir=export, ssl_config_file=ssl_config(certificates, verify)) as (_, address):
        assert works(address, certificates.client())
        assert works(address, TLS(certificates.authority.cert_pem.bytes())) is not verify
        connection = certificates.https(rest_ports[address])
        connection.request("POST", "/v1/models/seghgan:predict", body)
        assert connection.getresponse().status == (403 if verify else 200)
        connection.close()


def test_identities_need_certificates_that_are_checked(export: Path, certificates: Certificates) -> None:
    path = ssl_config(certificates, verify=True)
    assert Settings(model_dir=export, ssl_config_file=path, client_identities=("editor",)).checks_clients
    path = ssl_config(certificates, verify=False)
    with pytest.raises(ValueError, match="`client_verify` in `ssl_config_file`"):
        Settings(model_dir=export, ssl_config_file=path, client_identities=("editor",))
    path.write_text("server_key: secret")
    with pytest.raises(ValueError, match="must hold an SSLConfig") as refused:
        Settings(model_dir=export, ssl_config_file=path, client_identities=("editor",))
    assert "secret" not in str(refused.value)


def test_unusable_certificates_stop_the_start(run_server: Any, export: Path, certificates: Certificates) -> None:
    (certificates.folder / "cert.pem").write_text("nonsense")
    with pytest.raises(ValueError, match="must be PEM"), run_server(model_dir=export, **certificates.settings):
        pass


def test_rest_answers_no_predictions_where_clients_must_show_certificates(
    run_server: Any, rest_ports: dict[str, int], export: Path, certificates: Certificates
) -> None:
    settings = {"tls_client_ca": certificates.folder / "clients.pem", **certificates.settings}
    with run_server(model_dir=export, **settings) as (_, address):
        connection = certificates.https(rest_ports[address])
        answers = {}
        for method, path in (
            ("GET", "/v1/models/seghgan/metadata"),
            ("GET", "/monitoring/prometheus/metrics"),
            ("GET", "/"),
            ("GET", "/manifest.json"),
            ("POST", "/v1/models/seghgan:predict"),
        ):
            connection.request(method, path, "{}" if method == "POST" else None)
            reply = connection.getresponse()
            answers[path] = reply.status
            reply.read()
        connection.close()
    assert list(answers.values()) == [200, 200, 404, 404, 403]


def test_rest_speaks_tls_alone_where_grpc_does_and_takes_a_renewed_certificate(
    run_server: Any, rest_ports: dict[str, int], export: Path, certificates: Certificates
) -> None:
    with run_server(model_dir=export, **certificates.settings) as (_, address):
        serials = []
        for _ in range(2):
            connection = certificates.https(rest_ports[address])
            connection.request("GET", "/v1/models/seghgan")
            assert connection.getresponse().status == 200
            serials.append(connection.sock.getpeercert()["serialNumber"])
            connection.close()
            certificates.issue_server()
        plain = http.client.HTTPConnection("localhost", rest_ports[address], timeout=20)
        plain.request("GET", "/v1/models/seghgan")
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.getresponse()
        plain.close()
    assert serials[0] != serials[1]


def test_status_bench_serve_and_edit_take_certificates_and_a_version(
    run_server: Any, export: Path, certificates: Certificates
) -> None:
    shown = certificates.client()
    files = [certificates.folder / f"shown-{name}.pem" for name in ("ca", "cert", "key")]
    for path, pem in zip(files, (shown.ca, shown.cert, shown.key), strict=True):
        path.write_bytes(pem or b"")
    flags = [
        part for name, path in zip(("ca", "cert", "key"), files, strict=True) for part in (f"--tls-{name}", str(path))
    ]
    app = typer.Typer()
    app.command()(cli.status)
    app.command()(cli.bench_serve)
    ca = certificates.folder / "clients.pem"
    with run_server(model_dir=export, **certificates.settings, tls_client_ca=ca) as (_, address):
        asked = ["--server", address, "--version", "1", *flags]
        assert "version 1: AVAILABLE  <- answers" in CliRunner().invoke(app, ["status", *asked]).output
        measured = CliRunner().invoke(app, ["bench-serve", *asked, "--clients", "1", "--seconds", "0.2"])
        assert json.loads(measured.output)["errors"] == {}
        photo, out = certificates.folder / "photo.png", certificates.folder / "out.png"
        Image.new("RGB", (48, 48), (90, 120, 150)).save(photo)
        wish = ["edit", str(photo), "--out", str(out), "--au", "AU12=5", "--frame", "centre", *asked]
        edited = CliRunner().invoke(seghgan, wish)
        assert edited.exit_code == 0, edited.output
        assert out.is_file()
        byname = CliRunner().invoke(app, ["status", *asked, "--tls-server-name", "elsewhere"])
        assert isinstance(byname.exception, ClientError)
