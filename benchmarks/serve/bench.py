"""What the serving benchmarks share: an export, server processes, an open-loop load, and results as JSON."""

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from serving.bundle.manifest import MANIFEST, read_manifest, sha256, versions
from serving.client import SegHGANClient, talk
from serving.client.bench import example, measure
from serving.client.channel import Retry, channel_options

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "serving" / "fake_export.py"


def parser(text: str, exports: bool = False) -> argparse.ArgumentParser:
    """Arguments that every benchmark has; `exports` are for one that leaves the export as it is."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.set_defaults(export=None)
    if exports:
        made.add_argument("--export", type=Path, help="folder that `seghgan export` wrote, in place of a stand-in")
    made.add_argument("--size", type=int, default=128, help="image size of the stand-in model in px")
    made.add_argument("--layers", type=int, default=4, help="3x3 convolutions of the stand-in model, 16 channels each")
    made.add_argument("--together", action="store_true", help="let the load run on the server's cores too")
    made.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), help="folder of results")
    return made


def apart(together: bool) -> set[int]:
    """Keep this process, which makes the load, on the last core, and return the others, which are the server's."""
    cores = sorted(os.sched_getaffinity(0))
    if together or len(cores) < 2:
        return set(cores)
    os.sched_setaffinity(0, {cores[-1]})
    return set(cores[:-1])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_export(root: Path, version: int, size: int, layers: int, strength: float = 0.5) -> Path:
    """Write a stand-in export in a process of its own."""
    flags = [f"--version={version}", f"--size={size}", f"--layers={layers}", f"--strength={strength}"]
    subprocess.run([sys.executable, FAKE, root, *flags], check=True, capture_output=True)
    return root / str(version)


class Server:
    """An embedded server process over an export folder."""

    def __init__(self, export: Path, folder: Path, *flags: str, port: int = 0, cores: set[int] | None = None) -> None:
        self.port_file = folder / f"ports-{time.monotonic_ns()}.json"
        self.log = (folder / f"{self.port_file.stem}.log").open("w+")
        command = [
            sys.executable,
            "-m",
            "serving.server.process",
            "--model-dir",
            export,
            "--grpc-port",
            str(port),
            "--rest-port",
            "none",
        ]
        self.process = subprocess.Popen([*command, "--port-file", self.port_file, *flags], stderr=self.log)
        if cores is not None:
            os.sched_setaffinity(self.process.pid, cores)
        while not self.port_file.exists():
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(self.log.read())
            time.sleep(0.02)
        ports = json.loads(self.port_file.read_text())
        self.port, self.rest_port = ports["grpc"], ports["rest"]
        self.address = f"localhost:{self.port}"

    def rss(self) -> int:
        """Resident memory in kB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process with a signal and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.log.close()
        return code


@contextlib.contextmanager
def workplace(arguments: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """A folder for files and the folder of an export: the one that was given, or a stand-in's with version 1."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.export is None:
            write_export(folder / "export", 1, arguments.size, arguments.layers)
        yield folder, arguments.export or folder / "export"


def model_of(export: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What is served: the stand-in by its flags, an export by what its manifest says of itself and that manifest's SHA-256."""
    if arguments.export is None:
        return {"stand_in": FAKE.name, "image_size": arguments.size, "layers": arguments.layers}
    version, folder = list(versions(export).items())[-1]
    manifest = read_manifest(folder)
    return {
        "export": arguments.export.name,
        "version": version,
        "image_size": manifest["model"]["image_size"],
        "labels": manifest["model"]["expression"]["labels"],
        "training": manifest["training"],
        "megabytes": round(sum((folder / one).stat().st_size for one in manifest["files"]) / 1e6, 1),
        "manifest_sha256": sha256(folder / MANIFEST),
    }


def save(name: str, arguments: argparse.Namespace, export: Path, result: dict[str, Any]) -> None:
    """Print a result and write it beside the command, the model and the machine."""
    facts = {
        "command": " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load_average_at_end": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "model": model_of(export, arguments),
        "load_on_a_core_of_its_own": len(os.sched_getaffinity(0)) < (os.cpu_count() or 1),
        **result,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p90 and p99 in ms."""
    if not seconds:
        return {}
    values = np.percentile(seconds, (50, 90, 99)) * 1e3
    return {f"p{point}_ms": round(float(value), 2) for point, value in zip((50, 90, 99), values, strict=True)}


def closed_loop(address: str, signature: str, clients: int, batch: int, seconds: float) -> dict[str, Any]:
    """Return what `serving.client.bench.measure` measures at an address, without retries."""
    with SegHGANClient(address, retry=Retry(attempts=1)) as client:
        return measure(client, signature, clients, batch, seconds)


def open_loop(
    address: str, rate: float, seconds: float, signature: str, timeout: float = 10.0, settle: float = 0.0
) -> dict[str, Any]:
    """Send at a fixed rate whatever the answers, without retries; latencies by outcome.

    What is sent in the first `settle` seconds is told apart, as `onset`. Answers a second are those that came from then on
    and before the sending ended.
    """
    with SegHGANClient(address) as client:
        served = client.served()
    raw = talk.predict_request("seghgan", signature, example(served, signature, 1)).SerializeToString()
    codes: Counter[str] = Counter()
    accepted: list[float] = []
    refused: list[float] = []
    onset: list[float] = []
    answered: list[float] = []
    done = threading.Semaphore(0)
    with grpc.insecure_channel(address, channel_options(address, None, Retry(attempts=1))) as channel:
        call = channel.unary_unary(talk.PREDICT)

        def finished(future: grpc.Future, start: float) -> None:
            code, now = future.code(), time.monotonic()
            seconds = now - start
            if code is grpc.StatusCode.OK:
                answered.append(now)
            if start >= begin + settle:
                codes[code.name] += 1
                (accepted if code is grpc.StatusCode.OK else refused).append(seconds)
            elif code is grpc.StatusCode.OK:
                onset.append(seconds)
            done.release()

        begin = time.monotonic()
        count = int(rate * (settle + seconds))
        for i in range(count):
            if (wait := begin + i / rate - time.monotonic()) > 0:
                time.sleep(wait)
            start = time.monotonic()
            future = call.future(raw, timeout=timeout)
            future.add_done_callback(partial(finished, start=start))
        sent = time.monotonic() - begin
        for _ in range(count):
            done.acquire()
    return {
        "rate_wanted": round(rate, 1),
        "rate_sent": round(count / sent, 1),
        "answers_per_second": round(sum(settle <= at - begin < sent for at in answered) / (sent - settle), 2),
        "refused_share": round(len(refused) / (len(accepted) + len(refused)), 4),
        "codes": dict(codes),
        "accepted": percentiles(accepted),
        "refused": percentiles(refused),
        "onset": percentiles(onset),
    }
