"""The init container's fetch: only whole, untouched exports reach the folder that is served."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from serving.bundle.manifest import verify
from serving.release import fetch


@pytest.fixture
def exports(whole_export: Path) -> Path:
    return whole_export.parent


def packed(exports: Path, to: Path, extra: dict[str, bytes] | None = None, link: str = "") -> tuple[str, str]:
    with tarfile.open(to, "w") as tar:
        tar.add(exports, ".")
        for name, content in (extra or {}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("1/link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
    return to.as_uri(), hashlib.sha256(to.read_bytes()).hexdigest()


def test_an_archive_becomes_version_folders(exports, tmp_path, capsys):
    url, digest = packed(exports, tmp_path / "models.tar")
    arguments = ["--url", url, "--sha256", digest, "--output", str(tmp_path / "served")]
    assert fetch.main(arguments) == 0
    assert verify(tmp_path / "served" / "1")["manifest_version"] == 1
    assert fetch.main(arguments) == 0, "a container that starts again finds its files in place"
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1"]
    assert "versions [1]" in capsys.readouterr().err


def test_another_digest_leaves_nothing_behind(exports, tmp_path, capsys):
    url, digest = packed(exports, tmp_path / "models.tar")
    assert fetch.main(["--url", url, "--sha256", "0" * 64, "--output", str(tmp_path / "served")]) == 1
    assert digest in capsys.readouterr().err
    assert list((tmp_path / "served").iterdir()) == []


def test_a_changed_file_is_refused(exports, tmp_path):
    (exports / "1" / "saved_model.pb").write_bytes(b"another graph")
    with pytest.raises(ValueError, match="SHA-256"):
        fetch.fetch(*packed(exports, tmp_path / "models.tar"), tmp_path / "served")
    assert list((tmp_path / "served").iterdir()) == []


def test_a_path_out_of_the_folder_is_refused(exports, tmp_path):
    with pytest.raises(ValueError, match="outside"):
        fetch.fetch(*packed(exports, tmp_path / "m.tar", extra={"../../evil": b"x"}), tmp_path / "a" / "b" / "served")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_out_of_the_folder_is_refused(exports, tmp_path):
    with pytest.raises(ValueError, match="link"):
        fetch.fetch(*packed(exports, tmp_path / "m.tar", link="/etc/passwd"), tmp_path / "served")


def test_plain_http_is_refused(tmp_path):
    with pytest.raises(ValueError, match="https"):
        fetch.fetch("http://models.example/1.tar", "0" * 64, tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "page.html").write_bytes(b"<html>not found</html>")
    digest = hashlib.sha256(b"<html>not found</html>").hexdigest()
    with pytest.raises(ValueError, match="tar of version folders"):
        fetch.fetch((tmp_path / "page.html").as_uri(), digest, tmp_path / "served")


def test_an_archive_without_versions_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="version folders"):
        fetch.fetch(*packed(tmp_path / "empty", tmp_path / "m.tar"), tmp_path / "served")
