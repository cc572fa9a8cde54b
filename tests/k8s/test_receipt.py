"""An export's receipt pins it: gate and promotion refuse another export under the same number."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seghgan_tf import cli
from serving.release.receipt import check_digest, write_receipt


@pytest.fixture
def export(whole_export, tmp_path: Path) -> tuple[Path, str]:
    """Version 1 with figures that pass the gate, and the digest of its receipt."""
    write_receipt(whole_export, tmp_path / "exported")
    version, digest = (tmp_path / "exported").read_text().split()
    assert version == whole_export.name == "1"
    return whole_export, digest


def test_the_export_itself_passes_the_gate(export):
    folder, digest = export
    check_digest(folder, digest)
    ran = CliRunner().invoke(cli.app, ["gate", str(folder), "--digest", digest])
    assert ran.exception is None, ran.output


def test_another_export_under_the_same_number_is_refused(export):
    folder, digest = export
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["training"]["figures"]["miou"] = 0.99
    (folder / "manifest.json").write_text(json.dumps(manifest))
    ran = CliRunner().invoke(cli.app, ["gate", str(folder), "--digest", digest])
    assert "another export has taken the place" in str(ran.exception)


def test_a_changed_file_is_refused(export):
    folder, digest = export
    (folder / "saved_model.pb").write_bytes(b"another graph")
    with pytest.raises(ValueError, match="SHA-256"):
        check_digest(folder, digest)


def test_a_promotion_of_another_export_moves_nothing(export, tmp_path):
    folder, digest = export
    config = tmp_path / "models.config"
    shipped = Path(cli.__file__).parents[1] / "serving" / "config" / "models.config"
    config.write_text(shipped.read_text())
    (folder / "saved_model.pb").write_bytes(b"another graph")
    words = ["promote", "1", "--config-file", str(config), "--server", "localhost:1", "--exports", str(folder.parent)]
    ran = CliRunner().invoke(cli.app, [*words, "--digest", digest])
    assert "SHA-256" in str(ran.exception)
    assert config.read_text() == shipped.read_text()


def test_a_digest_without_a_folder_is_wrong_usage(tmp_path):
    words = ["promote", "1", "--config-file", str(tmp_path / "models.config"), "--digest", "sha256:0"]
    ran = CliRunner().invoke(cli.app, words)
    assert ran.exit_code == 2
    assert "belong together" in ran.output
