"""The quality gate: a candidate's figures against fixed floors and against the model that serves now."""

import json
from pathlib import Path
from typing import Any, NamedTuple

MANIFEST = "manifest.json"


class GateRefusedError(ValueError):
    """The candidate is not good enough; the process ends with status 3, so that a pipeline tells it from a failure."""

    exit_status = 3


class Limits(NamedTuple):
    """What a candidate must reach by itself, and how far it may fall behind the baseline."""

    min_miou: float = 0.60
    max_error_ratio: float = 0.95
    max_outside_change: float = 0.02
    miou_drop: float = 0.01
    error_ratio_rise: float = 0.02
    expression_error_rise: float = 0.05


class Check(NamedTuple):
    """One comparison: `value` must not lie beyond `bound`."""

    figure: str
    value: float | None
    bound: float
    rule: str
    passed: bool


def read_figures(source: Path) -> dict[str, Any]:
    """Read figures from the JSON of `seghgan evaluate`, an export's manifest, or the newest version in a folder of exports.

    ValueError where there are none.
    """
    path = source
    if source.is_dir() and not (source / MANIFEST).exists():
        versions = [int(child.name) for child in source.iterdir() if child.name.isdigit()]
        if not versions:
            raise ValueError(f"`source` must be figures, an export or a folder of exports. Received: {source}")
        path = source / str(max(versions))
    path = path / MANIFEST if path.is_dir() else path
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"`source` must be a readable JSON file ({error}). Received: {path}") from error
    figures = found.get("training", {}).get("figures") if "manifest_version" in found else found
    if not isinstance(figures, dict) or "miou" not in figures:
        raise ValueError(
            f"{path} must hold figures; make them with `seghgan evaluate --output figures.json` and export with "
            "`--figures figures.json`. Received: none"
        )
    return figures


def compare(candidate: dict[str, Any], baseline: dict[str, Any] | None, limits: Limits = Limits()) -> list[Check]:  # noqa: B008  # immutable
    """Return every check of a candidate; a figure that the baseline has and the candidate lacks does not pass.

    >>> [check.passed for check in compare({"miou": 0.7}, {"miou": 0.72})]
    [True, False]
    """
    checks = []

    def check(figure: str, bound: float, rule: str, at_least: bool) -> None:
        value = candidate.get(figure)
        passed = value is not None and (value >= bound if at_least else value <= bound)
        checks.append(Check(figure, value, bound, rule, passed))

    check("miou", limits.min_miou, "floor", True)
    for figure, bound in (("error_ratio", limits.max_error_ratio), ("outside_change", limits.max_outside_change)):
        if figure in candidate:
            check(figure, bound, "ceiling", False)
    if baseline is not None:
        check("miou", baseline["miou"] - limits.miou_drop, "baseline", True)
        for figure, rise in (
            ("error_ratio", limits.error_ratio_rise),
            ("expression_error", limits.expression_error_rise),
        ):
            if figure in baseline:
                check(figure, baseline[figure] + rise, "baseline", False)
    return checks


def judge(candidate: Path, baseline: Path | None, limits: Limits = Limits()) -> list[Check]:  # noqa: B008  # immutable
    """Return the checks of a candidate that passes all; GateRefusedError names those that it does not pass."""
    checks = compare(read_figures(candidate), None if baseline is None else read_figures(baseline), limits)
    if failed := [one for one in checks if not one.passed]:
        words = "; ".join(
            f"{one.figure} is {one.value if one.value is None else round(one.value, 4)}, {one.rule} {round(one.bound, 4)}"
            for one in failed
        )
        raise GateRefusedError(f"The candidate is refused: {words}. Received: {candidate}")
    return checks
