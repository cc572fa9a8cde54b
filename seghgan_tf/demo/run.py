"""The whole job on faces drawn by the program: draw, train, evaluate, export, serve, edit over gRPC, report."""

import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from seghgan_tf.config import Config, read_config
from seghgan_tf.demo import report as demo_report
from seghgan_tf.demo.trials import (
    LARGE,
    PHOTO_SIZE,
    Images,
    Trials,
    draw_trials,
    edited_by,
    fields_of,
    large_figures,
    trial_figures,
)
from seghgan_tf.evaluation import provenance
from seghgan_tf.evaluation.figures import segmentation_figures
from seghgan_tf.export import export
from seghgan_tf.model import SegHGAN, checkpoint
from seghgan_tf.model.inference import REGION_NAMES
from seghgan_tf.progress import progress
from seghgan_tf.training import run as training
from seghgan_tf.training.workdir import read_history

PRESET = "drawn-64"
CHECKPOINT = checkpoint.CHECKPOINTS / f"{PRESET}.npz"
LIMITS = {
    "miou": (">=", 0.80),
    "edit_error_ratio": ("<=", 0.50),
    "edit_error_ratio_384": ("<=", 0.60),
    "emotion_error_ratio_384": ("<=", 0.65),
    "outside_change": ("<=", 0.02),
    "parity": ("<=", 1e-5),
}
"""What the demo promises on people it never trained on."""

FACES = {False: (800, 64, 160), True: (10000, 128, 160)}
"""Faces to draw for training, validation and test, when going on from the package's checkpoint and from scratch."""

GO_ON = (
    "training.steps=240",
    "training.evaluate_every=80",
    "training.learning_rate=5e-5",
    "training.segmenter_learning_rate=2e-4",
    "model.segmenter_steps=0",
    "model.paired_steps=0",
    "data.photo_scale=1",
)
"""Settings for going on from the checkpoint: few steps at low rates."""


def _train(config: Config, workdir: Path, console: Console, from_scratch: bool) -> SegHGAN:
    start = None if from_scratch else lambda model: checkpoint.load(model, CHECKPOINT)
    with progress(console, "train") as move:
        return training.train(config, workdir, start=start, report=console.print, move=move)


@contextmanager
def served(export_dir: Path, logs: Path, protocol: Literal["grpc", "rest"] = "grpc") -> Iterator[str]:
    """Run the embedded server on an export as a process of its own; gives its address for a protocol, "127.0.0.1:PORT".

    Raises RuntimeError with the last lines of its log where it does not come up.
    """
    port_file = logs / "server.port"
    port_file.unlink(missing_ok=True)
    words = ["--model-dir", str(export_dir), "--grpc-port", "0", "--port-file", str(port_file)]
    words += ["--rest-port", "0" if protocol == "rest" else "none"]
    command = [sys.executable, "-m", "serving.server.process", *words]
    with (logs / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        deadline = time.monotonic() + 600
        while not port_file.is_file() or not port_file.read_text().strip():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (logs / "server.log").read_text()[-800:]
                raise RuntimeError(f"the server did not start; the end of {logs / 'server.log'} says: {tail}")
            time.sleep(0.2)
        yield f"127.0.0.1:{json.loads(port_file.read_text())[protocol]}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def edit_over_grpc(address: str, trials: Trials) -> Images:
    """Edit every person to every expression on the server: (people, E, S, S, 3)."""
    from serving.client import SegHGANClient

    limits = np.repeat(np.eye(len(REGION_NAMES), dtype=np.float32)[:1], len(trials.asked), 0)
    edited = []
    with SegHGANClient(address, timeout=600.0) as client:  # however busy the machine is
        for photo in trials.photos:
            faces = np.repeat(photo[None], len(trials.asked), 0)
            for part in (slice(first, first + 8) for first in range(0, len(faces), 8)):
                inputs = {"image": faces[part], "expression": trials.asked[part], "regions": limits[part]}
                edited.append(client.predict("serving_default", inputs).outputs["edited"])
    return np.concatenate(edited).reshape(trials.truths.shape)


class Clock:
    """Times the stages and says which one runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announce a stage and keep its seconds."""
        self.console.rule(f"{len(self.seconds) + 1}. {what}")
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        self.console.print(f"{name}: {self.seconds[name]} s")


def segmentation_alone(config: Config) -> Config:
    """Return the run of the segmenter alone: the same seed, data, rates and steps, but it never leaves its own stage."""
    values = config.model_dump()
    values["model"] |= {"segmenter_steps": config.training.steps}
    return Config.model_validate(values)


def _segmenter_alone(config: Config, miou: float, workdir: Path, console: Console, clock: Clock) -> dict[str, float]:
    """Train a segmenter alone from the same start for as many steps, and return what training it together cost."""
    with clock.stage("segmenter alone", "Train the segmenter alone from the same start for as many steps, to compare"):
        lone = _train(segmentation_alone(config), workdir / "segmenter-alone", console, True)
        alone = segmentation_figures(lone, training.streams(config, "test")["segmentation"])
    return {"miou_alone": alone["miou"], "miou_drop": alone["miou"] - miou}


def _committed_alone() -> dict[str, float]:
    """Return the comparison that was measured when the package's checkpoint was trained from nothing."""
    figures = checkpoint.facts(CHECKPOINT)["figures"]
    return {name: figures[name] for name in ("miou_alone", "miou_drop") if name in figures}


def _draw(folder: Path, faces: tuple[int, int, int], size: int, seed: int, console: Console) -> None:
    from tfrecords_tools.draw import draw_dataset

    with progress(console, "draw") as move:
        draw_dataset(folder, *faces, size=size, seed=seed, progress=move)


def checkpoint_facts(figures: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is kept beside a checkpoint of the demo, a file of that name: how, where and when it was made, and how good it is.

    One that went on from the package's says from which, by its SHA-256; the comparison with a segmenter alone is of that one and is left out.
    The package's own, measured as it is, keeps what is known of it, and `measured` says how its figures came about.
    """
    way, shown = "", (*LIMITS, "emotion_error_ratio", "outside_change_384")
    if figures["from_scratch"]:
        way, shown = f"--from-scratch --preset {figures['preset']} ", (*shown, "miou_alone", "miou_drop")
    elif not figures["trained"]:
        way = "--no-train "
    made = {
        "command": f"seghgan demo {way}--seed {figures['seed']} --save-checkpoint {name}",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.date.today().isoformat(),
        "seed": figures["seed"],
        "seconds": figures["total_seconds"],
    }
    kept = {figure: figures[figure] for figure in shown}
    for side in ("", f"_{PHOTO_SIZE}"):
        kept[f"error_ratios{side}"] = {unit: of["error_ratio"] for unit, of in figures[f"per_expression{side}"].items()}
    if figures["from_scratch"]:
        return {**made, "steps": figures["steps"], "figures": kept}
    known = checkpoint.facts(CHECKPOINT)
    if figures["trained"]:
        return {**made, "steps": figures["steps"], "began_from": known["sha256"], "figures": kept}
    return {
        **{key: value for key, value in known.items() if key not in ("model", "sha256")},
        "measured": made,
        "figures": kept,
    }


def _check_asked(from_scratch: bool, train: bool, preset: str) -> None:
    if preset != PRESET and not from_scratch:
        raise ValueError(
            f"`preset` must be {PRESET} because the package's checkpoint is of that one. Received: {preset}; add --from-scratch"
        )
    if from_scratch and not train:
        raise ValueError("`train` must be set where `from_scratch` is. Received: neither weights nor training")
    if not from_scratch and not CHECKPOINT.is_file():
        raise RuntimeError(f"the package has no {CHECKPOINT.name}; run `seghgan demo --from-scratch`")


def run_demo(
    workdir: Path,
    *,
    from_scratch: bool = False,
    train: bool = True,
    preset: str = PRESET,
    seed: int = 1,
    people: int = 24,
    save_checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Run the job and write `report.html` and `figures.json` into `workdir`; returns the figures.

    The same command resumes drawing and training; without `train` the package's checkpoint is measured as it is. Raises ValueError for another
    preset than `drawn-64` without `from_scratch`, or for `from_scratch` without `train`, RuntimeError where the package has no checkpoint to go on from.
    """
    _check_asked(from_scratch, train, preset)
    workdir.mkdir(parents=True, exist_ok=True)
    console, began = Console(), time.monotonic()
    clock = Clock(console)
    records = workdir / ("records" if train else "test-records")
    settings = ("data.expression=" + json.dumps([str(records)]), f"model.seed={seed}", *(() if from_scratch else GO_ON))
    config = read_config(preset, settings)
    size = config.model.image_size
    with clock.stage("draw", "Draw faces, their masks and their true edits into TFRecords"):
        faces = FACES[from_scratch] if train else (0, 0, FACES[False][2])
        _draw(records, faces, size * config.data.photo_scale, seed, console)
        trials = draw_trials(people, size, seed)
        large = draw_trials(min(people, LARGE), PHOTO_SIZE, seed)
    if train:
        with clock.stage("train", "Train segmenter, generators and critics together"):
            model = _train(config, workdir / "run", console, from_scratch)
        steps, history = model.steps_done, read_history(workdir / "run")
    else:
        model, steps, history = SegHGAN.from_preset(CHECKPOINT), checkpoint.facts(CHECKPOINT)["steps"], []
    with clock.stage("evaluate", "Evaluate on people never trained on"):
        test = training.streams(config, "test")["segmentation"]
        segmentation = segmentation_figures(model, test)
        with model.averaged():
            fields = fields_of(model, trials)
            shown = demo_report.look(model, trials.photos)
        in_process, in_large = edited_by(trials, fields), edited_by(large, fields[: len(large.photos)])
        figures = {"miou": segmentation["miou"], "iou": segmentation["iou"]}
        figures |= trial_figures(trials, in_process) | large_figures(trial_figures(large, in_large))
    figures |= (
        _segmenter_alone(config, figures["miou"], workdir, console, clock) if from_scratch else _committed_alone()
    )
    with clock.stage("export", "Export a SavedModel with signatures, warmup and manifest"):
        measured = {name: figures[name] for name in ("miou", "iou", "outside_change")}
        measured["error_ratio"] = figures["edit_error_ratio"]
        measured["measured"] = provenance.measured(model, config, "test")
        facts = {"preset": preset, "step": steps, "figures": measured}
        exported = export(model, workdir / "export", training=facts)
    with (
        clock.stage("serve and edit", "Start the server as a process of its own and edit over gRPC"),
        served(workdir / "export", workdir) as address,
    ):
        over_grpc = edit_over_grpc(address, trials)
    figures |= {
        "parity": float(np.abs(over_grpc - in_process).max()),
        "from_scratch": from_scratch,
        "preset": preset,
        "seed": seed,
        "people": people,
        "steps": steps,
        "trained": train,
        "stages": clock.seconds,
        "total_seconds": round(time.monotonic() - began, 1),
    }
    (workdir / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    run = demo_report.Run(config, figures, history, trials, over_grpc, large, in_large, shown, exported)
    demo_report.write_report(workdir / "report.html", run, LIMITS)
    if save_checkpoint is not None:
        checkpoint.save(model, save_checkpoint, checkpoint_facts(figures, save_checkpoint.name))
    for name, (relation, limit) in LIMITS.items():
        console.print(f"{name:18} {figures[name]:.3g}  ({relation} {limit})")
    console.print(
        f"report: {workdir / 'report.html'}   figures: {workdir / 'figures.json'}   {figures['total_seconds']:.0f} s"
    )
    return figures
