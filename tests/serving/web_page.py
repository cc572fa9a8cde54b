"""What the tests of the web page start: exports, a server process, a static host, Chromium's switches."""

import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")
PAGE = Path(__file__).parents[2] / "serving" / "web"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--use-fake-device-for-media-stream",
]


def write_config(seghgan: Path, folder: Path) -> Path:
    """Return a models.config that serves an export as `seghgan`, fake models of the eight emotions as `emotions` and of valence and arousal as `va`."""
    import fake_export

    from seghgan_tf.expressions import expression_space

    served = {"seghgan": seghgan}
    for name in ("emotions", "va"):
        served[name] = folder / name
        fake_export.write_export(served[name], space=expression_space(name))
    entry = 'config {{ name: "{0}" base_path: "{1}" model_platform: "tensorflow" }}'
    config = folder / "models.config"
    config.write_text("model_config_list { " + " ".join(entry.format(*each) for each in served.items()) + " }")
    return config


class StaticHost(http.server.SimpleHTTPRequestHandler):
    """A plain web server of the page and a manifest.json, which passes /v1/ on to the REST port, as docs/web.md says."""

    rest = ""
    manifest = Path()

    def do_GET(self) -> None:
        """Serve a file of the page, the manifest, or the server's answer."""
        if self.path.startswith("/v1/"):
            self._pass_on(None)
        elif self.path.startswith("/manifest.json"):
            self._answer(200, "application/json", self.manifest.read_bytes())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Pass a request on."""
        self._pass_on(self.rfile.read(int(self.headers["content-length"])))

    def _pass_on(self, body: bytes | None) -> None:
        request = urllib.request.Request(self.rest + self.path, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            self._answer(reply.status, "application/json", reply.read())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def host(rest: str, manifest: Path, port: int = 0) -> Iterator[int]:
    """Run a static host of the page in front of `rest`; gives its port."""
    handler = type("Host", (StaticHost,), {"rest": rest.rstrip("/"), "manifest": manifest})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), functools.partial(handler, directory=str(PAGE))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serve(config: Path, folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run the embedded server as a process; gives it and the page's address."""
    ports, log = folder / "ports.json", folder / "server.log"
    command = [sys.executable, "-m", "serving.server", "--model-config-file", str(config), "--grpc-port", "0"]
    command += ["--no-enable-model-warmup", "--rest-port", "0", "--port-file", str(ports)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})
    try:
        end = time.monotonic() + 240
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(log.read_text()[-800:])
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{json.loads(ports.read_text())['rest']}/"
    finally:
        process.kill()
        process.wait()
