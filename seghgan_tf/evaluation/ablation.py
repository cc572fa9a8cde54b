"""Train the method's variants at equal budget, measure them on the same people, and report what is there."""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import rich.table
import tensorflow as tf
from PIL import Image
from rich.console import Console

from seghgan_tf.config import Config, read_config
from seghgan_tf.evaluation import comparison, provenance
from seghgan_tf.evaluation.cost import step_costs
from seghgan_tf.evaluation.figures import evaluate_run
from seghgan_tf.evaluation.intervals import Rows
from seghgan_tf.files import write_atomically
from seghgan_tf.model import SegHGAN
from seghgan_tf.pictures import GAP, Pixels, grid, to_pixels
from seghgan_tf.progress import progress
from seghgan_tf.training import run as training
from seghgan_tf.training import workdir

FIGURES_FILE, EDITS_FILE, COST_FILE = "figures.json", "edits.png", "cost.json"
SHOWN, ZOOM = 6, 2
"""People in the picture, and how many of its pixels a pixel is wide."""
BEGIN, END = "<!-- ablation: written by seghgan ablate --markdown -->\n", "<!-- end of ablation -->\n"


def plan(
    config: str, settings: tuple[str, ...], variants: tuple[str, ...], segmenters: tuple[str, ...], seeds: int
) -> dict[str, Config]:
    """Return the configuration of every run by its name. Raises ValueError as `read_config` does.

    >>> list(plan("drawn-64", (), ("none", "joint"), (), 2))
    ['unet-none-0', 'unet-none-1', 'unet-joint-0', 'unet-joint-1']
    """
    segmenters = segmenters or (read_config(config, settings).model.segmenter,)
    return {
        f"{segmenter}-{variant}-{seed}": read_config(
            config, (*settings, f"model.segmenter={segmenter}", f"model.regions={variant}", f"model.seed={seed}")
        )
        for segmenter, variant, seed in product(segmenters, variants, range(seeds))
    }


def run(config: Config, folder: Path, train: bool, console: Console) -> None:
    """Train a run to its end, or go on with it, if `train`, and measure it; what is done, or in another process's hands, is left alone.

    So is what was trained otherwise than `config` says: its figures would not compare.
    """
    if why := _otherwise(folder, config):
        console.print(f"left out: {folder.name}, {why}")
        return
    if (folder / FIGURES_FILE).is_file() or not (train or _step(folder) >= config.training.steps):
        return
    console.rule(folder.name)
    try:
        with progress(console, "train") as move:
            model = training.train(config, folder, report=console.print, move=move)
        with workdir.locked(folder):
            if not (folder / FIGURES_FILE).is_file():
                _measure(model, config, folder)
    except workdir.FolderInUseError as error:
        console.print(f"left out: {error}")


def _step(folder: Path) -> int:
    """Return the step of a run's newest checkpoint."""
    return max(
        (int(path.stem.split("-")[1]) for path in (folder / workdir.CHECKPOINTS).glob("step-*.keras")), default=0
    )


def _otherwise(folder: Path, config: Config) -> str:
    """Say in what a run was trained, or measured, otherwise than `config` says; empty where in nothing, or where it goes on to its steps."""
    if not (folder / workdir.CONFIG_FILE).is_file():
        return ""
    before, now = (each.training.model_dump() for each in (workdir.read_config_of(folder), config))
    done = (folder / FIGURES_FILE).is_file()
    differs = [
        f"training.{key} = {value}" for key, value in before.items() if value != now[key] and (done or key != "steps")
    ]
    if differs:
        return f"trained with {', '.join(differs)}: another budget takes another folder"
    step = _step(folder)
    if done:
        step = json.loads((folder / FIGURES_FILE).read_text()).get("measured", {}).get("step", now["steps"])
    if step > now["steps"] or (done and step < now["steps"]):
        return f"at step {step}, not {now['steps']}: another budget takes another folder"
    return ""


def _measure(model: SegHGAN, config: Config, folder: Path) -> None:
    rows: dict[str, Rows] = {}
    streams = training.streams(config, "test", people=True)
    figures = evaluate_run(model, **streams, keep=rows)
    figures["measured"] = provenance.measured(model, config, "test")
    figures["by_person"] = {kind: each.by_person() for kind, each in rows.items()}
    Image.fromarray(_edits(model, next(iter(streams["expression"])))).save(folder / EDITS_FILE)
    write_atomically(folder / FIGURES_FILE, json.dumps(figures) + "\n")


def _edits(model: SegHGAN, batch: Mapping[str, Any]) -> Pixels:
    """Return rows of photo, true picture where there is one, and edit."""
    image = batch["image"][:SHOWN]
    wanted = batch.get("target_expression", tf.roll(batch["expression"], 1, 0))[:SHOWN]
    with model.averaged():
        edited = model.edit(image, wanted)
    columns = [image, *([batch["target_image"][:SHOWN]] if "target_image" in batch else []), edited]
    return grid([list(row) for row in zip(*map(to_pixels, columns), strict=True)])


def measure_cost(runs: Mapping[str, Config], folder: Path, console: Console) -> None:
    """Measure what a step costs of each first seed's run and write it into `folder`."""
    first = {name.rpartition("-")[0]: config for name, config in runs.items() if name.endswith("-0")}
    with progress(console, "cost") as move:
        found = step_costs(first, move)
    write_atomically(folder / COST_FILE, json.dumps(found, indent=2) + "\n")


def report(runs: Mapping[str, Config], folder: Path, baseline: str, page: Path | None, console: Console) -> None:
    """Print the tables of what is there and what is missing; write `ablation.json`, `ablation.png` and the block of the page.

    Raises ValueError where the page has no block for the tables, or a run's folder another model or other data.
    """
    missing = {name: why for name, config in runs.items() if (why := _why(folder / name, config))}
    measured = {name: config for name, config in runs.items() if name not in missing}
    summary, tables = _compare(measured, folder, baseline)
    for table in tables:
        console.print(_shown(table))
    said = [f"measured: {len(measured)} of {len(runs)} runs"]
    for why in dict.fromkeys(missing.values()):
        said.append(f"{why}: {', '.join(name for name in missing if missing[name] == why)}")
    console.print("\n".join(said))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "ablation.json", json.dumps({"missing": missing, **summary}, indent=2) + "\n")
    columns = _picture(folder, measured)
    if page is not None:
        _write_block(page, tables, columns, said)


def _compare(runs: Mapping[str, Config], folder: Path, baseline: str) -> tuple[dict[str, Any], list[comparison.Table]]:
    """Return what `ablation.json` holds of the measured runs, and their tables."""
    costs = json.loads((folder / COST_FILE).read_text()) if (folder / COST_FILE).is_file() else {}
    summary: dict[str, Any] = {"baseline": baseline, "figures": {}, "compared": {}, "equal_cost": {}}
    tables: list[comparison.Table] = []
    for segmenter, names in groupby(runs, lambda name: name.split("-")[0]):
        group, histories = _read(folder, names)
        own = {variant: costs.get(f"{segmenter}-{variant}") for variant in group}
        configs = {variant: runs[f"{segmenter}-{variant}-{min(group[variant])}"] for variant in group}
        equal = comparison.at_equal_cost(configs, histories, own) if all(own.values()) else None
        compared = comparison.compare(group, baseline)
        tables += comparison.tables(segmenter, compared, equal, baseline)
        summary["compared"][segmenter], summary["equal_cost"][segmenter] = compared, equal
        for variant, seeds in group.items():
            for seed, figures in seeds.items():
                kept = {key: value for key, value in figures.items() if key != "by_person"}
                summary["figures"][f"{segmenter}-{variant}-{seed}"] = kept
    return summary, tables


def _why(folder: Path, config: Config) -> str:
    """Say why a run has no figures of this configuration; empty where it has."""
    if why := _otherwise(folder, config):
        return why
    if (folder / FIGURES_FILE).is_file():
        workdir.check_config(config, folder)  # refuses figures of another model or other data
        return ""
    step = _step(folder)
    return f"at step {step} of {config.training.steps}" if step < config.training.steps else "trained, not measured"


def _read(folder: Path, names: Iterator[str]) -> tuple[dict[str, dict[int, Any]], dict[str, dict[int, Any]]]:
    """Return figures and histories by variant and seed."""
    figures: dict[str, dict[int, Any]] = {}
    histories: dict[str, dict[int, Any]] = {}
    for name in names:
        _, variant, seed = name.split("-")
        figures.setdefault(variant, {})[int(seed)] = json.loads((folder / name / FIGURES_FILE).read_text())
        histories.setdefault(variant, {})[int(seed)] = workdir.read_history(folder / name)
    return figures, histories


def _picture(folder: Path, runs: Mapping[str, Config]) -> list[str]:
    """Write people down and variants across, each variant's first seed; returns the variants."""
    first = {name.rpartition("-")[0]: name for name in reversed(list(runs))}
    columns = list(dict.fromkeys(name.rpartition("-")[0] for name in runs))
    edits = [_read_png(folder / first[column] / EDITS_FILE) for column in columns]
    if edits:
        size = runs[first[columns[0]]].model.image_size
        parts = [edits[0][:, : -size - GAP], *(each[:, -size:] for each in edits)]
        gap = np.full((len(edits[0]), GAP, 3), 255, np.uint8)
        whole = np.concatenate([part for each in parts for part in (gap, each)][1:], 1)
        Image.fromarray(whole.repeat(ZOOM, 0).repeat(ZOOM, 1)).save(folder / "ablation.png")
    return columns


def _read_png(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture)


def _shown(table: comparison.Table) -> rich.table.Table:
    shown = rich.table.Table(*table.heads, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    return shown


def _write_block(page: Path, tables: list[comparison.Table], columns: list[str], said: list[str]) -> None:
    lines = []
    for table in tables:
        lines += [f"**{table.title}**", ""]
        lines += [f"| {' | '.join(row)} |" for row in (table.heads, ["---"] * len(table.heads), *table.rows)] + [""]
    lines += [f"Columns of the picture behind the true pictures: {', '.join(columns)}.", ""]
    lines += [said[0] + "." if len(said) == 1 else f"{said[0]}. Missing: {'; '.join(said[1:])}.", ""]
    block = BEGIN + "\n" + "\n".join(lines) + END
    text = page.read_text() if page.is_file() else BEGIN + END
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"`markdown` must hold the lines {BEGIN.strip()} and {END.strip()} once. Received: {page}")
    before, rest = text.split(BEGIN)
    write_atomically(page, before + block + rest.split(END)[1])
