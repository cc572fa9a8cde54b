"""Compare the runs under a folder: where each stands, its last figures, and the settings in which they differ."""

from pathlib import Path
from typing import Any, NamedTuple

from seghgan_tf import html
from seghgan_tf.config import Config
from seghgan_tf.training import workdir

FIGURES = ("miou", "paired", "segmentation", "expression", "cycle", "attention")
"""Validation figures that are shown, where a run has them."""


class Run(NamedTuple):
    """A run's name, its configuration, and its evaluations in order."""

    name: str
    config: Config
    history: list[dict[str, float]]

    @property
    def last(self) -> dict[str, float]:
        """The last evaluation; empty where there was none yet."""
        return self.history[-1] if self.history else {}


def find_runs(folder: Path) -> list[Run]:
    """Return the runs in `folder` and under it, by name. Raises ValueError where there is none."""
    found = sorted(path.parent for path in Path(folder).rglob(workdir.CONFIG_FILE))
    if not found:
        raise ValueError(f"`folder` must hold runs of `seghgan train`. Received: {folder}")
    return [
        Run(str(path.relative_to(folder)), workdir.read_config_of(path), workdir.read_history(path)) for path in found
    ]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def differing(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each configuration, the settings that are not the same in all.

    >>> differing([{"model": {"seed": 1, "image_size": 64}}, {"model": {"seed": 2, "image_size": 64}}])
    [{'model.seed': 1}, {'model.seed': 2}]
    """
    settings = [flat(config) for config in configs]
    keys = [key for key in settings[0] if any(config.get(key) != settings[0][key] for config in settings)]
    return [{key: config.get(key) for key in keys} for config in settings]


def table(runs: list[Run]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of the comparison."""
    settings = differing([run.config.model_dump(mode="json") for run in runs])
    shown = [name for name in FIGURES if any(run.last.get(f"val_{name}") for run in runs)]
    heads = ["run", "step", "of", "seconds", *shown, *(settings[0] if settings else ())]
    rows = [
        [
            run.name,
            f"{run.last.get('step', 0):.0f}",
            str(run.config.training.steps),
            f"{run.last.get('seconds', 0):.0f}",
            *(f"{run.last[f'val_{name}']:.4f}" if f"val_{name}" in run.last else "" for name in shown),
            *(str(value) for value in differs.values()),
        ]
        for run, differs in zip(runs, settings, strict=True)
    ]
    return heads, rows


def write_page(path: Path, runs: list[Run]) -> None:
    """Write the comparison and the curves of every figure as one HTML page."""
    heads, rows = table(runs)
    curves = ""
    for name in FIGURES:
        key = f"val_{name}"
        if any(run.last.get(key) for run in runs):
            lines = {run.name: [(line["step"], line[key]) for line in run.history if key in line] for run in runs}
            curves += html.curve(name, lines)
    html.write(path, "Runs", [html.table(heads, rows), f'<div class="curves">{curves}</div>'])
