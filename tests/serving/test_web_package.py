"""The web page is in the wheel, and a server without it says so."""

import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_file_of_the_page(tmp_path):
    setuptools = pytest.importorskip("setuptools", reason="needs the extra `dev`: pip install setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("needs the extra `dev`: pip install 'setuptools>=77'")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("seghgan_tf", "serving", "tfrecords_tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True, capture_output=True, cwd=tmp_path)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name.removeprefix("serving/web/") for name in wheel.namelist() if name.startswith("serving/web/")}
    assert packed == {path.name for path in (ROOT / "serving" / "web").iterdir()}
    assert {"index.html", "main.js", "style.css", "icon.svg"} <= packed


def test_a_server_without_the_page_says_so(embedded, monkeypatch, caplog, tmp_path):
    from serving.server import rest_routes

    engine = embedded[0]
    monkeypatch.setattr(rest_routes, "WEB", tmp_path / "nothing")
    with caplog.at_level(logging.WARNING, "serving.server.rest_routes"):
        rest_routes.Rest(engine)
    assert [record.getMessage() for record in caplog.records] == ["no web page"]
    assert caplog.records[0].fields["folder"] == str(tmp_path / "nothing")
