"""What the tests of the web page start: an export of the packaged checkpoint, a server process, Chromium."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def write_export(folder: Path) -> Path:
    """Export the packaged checkpoint with the real exporter."""
    from seghgan_tf import demo, pretrained
    from seghgan_tf.config import ModelConfig
    from seghgan_tf.export import export
    from seghgan_tf.model import SegHGAN

    model = SegHGAN(ModelConfig(**pretrained.facts(demo.CHECKPOINT)["model"]))
    pretrained.load_weights(model, demo.CHECKPOINT)
    export(model, folder, 1)
    return folder


@contextlib.contextmanager
def serve(export: Path, folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run the embedded server as a process; gives it and the page's address."""
    ports, log = folder / "ports.json", folder / "server.log"
    command = [sys.executable, "-m", "serving.server", "--model-dir", str(export), "--grpc-port", "0"]
    command += ["--rest-port", "0", "--port-file", str(ports)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})
    try:
        end = time.monotonic() + 60
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(log.read_text()[-800:])
            time.sleep(0.1)
        yield process, f"http://127.0.0.1:{json.loads(ports.read_text())['rest']}/"
    finally:
        process.kill()
        process.wait()
