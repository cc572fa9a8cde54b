"""The quality gate: a candidate's figures against fixed floors and against the model that serves now."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle.manifest import MANIFEST, versions


class GateRefusedError(ValueError):
    """The candidate is not good enough; the process ends with status 3, so that a pipeline tells it from a failure."""

    exit_status = 3


class Limits(NamedTuple):
    """What a candidate must reach by itself, and how far it may fall behind the baseline in the two main figures."""

    min_miou: float = 0.60
    max_error_ratio: float = 0.95
    max_outside_change: float = 0.02
    miou_drop: float = 0.01
    error_ratio_rise: float = 0.02


class Rule(NamedTuple):
    """Which way a figure is better, and how far a candidate may fall behind the baseline."""

    more_is_better: bool
    slack: float


RULES = {
    "miou": Rule(True, 0.01), "f1": Rule(True, 0.01), "boundary_f1": Rule(True, 0.02),
    "error_ratio": Rule(False, 0.02), "outside_change": Rule(False, 0.005),
    "expression_error": Rule(False, 0.05), "asked_error": Rule(False, 0.05), "leakage": Rule(False, 0.05),
    "cycle_psnr": Rule(True, 0.5), "cycle_ssim": Rule(True, 0.01), "locality": Rule(False, 0.0),
    "judged_error": Rule(False, 0.05), "fid": Rule(False, 1.0), "kid": Rule(False, 0.005),
    "identity": Rule(False, 0.02),
}  # fmt: skip
"""Every figure of `seghgan evaluate` that says how good a model is; it is compared where both sides have it."""
FACTS = ("unasked_error", "judged_unasked_error", "judge_error", "changed", "identity_others")
"""Figures that describe the data and not the model."""
EDIT_FIGURES = ("error_ratio", "asked_error")
"""A candidate must have one of these at least: a model is not released whose edits nobody measured."""
UNEDITED = {"asked_error": "unasked_error", "judged_error": "judged_unasked_error"}
"""What is seen where nothing was edited, of each figure of what is seen in edits: an edit must beat it, or it does nothing."""

NETWORKS = {"judge": ("judged_error",), "features": ("fid", "kid"), "identity": ("identity",)}
"""Figures that compare only where the same network gave them on both sides."""


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
        found = versions(source)
        if not found:
            raise ValueError(f"`source` must be figures, an export or a folder of exports. Received: {source}")
        path = found[max(found)]
    path = path / MANIFEST if path.is_dir() else path
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"`source` must be a readable JSON file ({error}). Received: {path}") from error
    figures = told.get("training", {}).get("figures") if "manifest_version" in told else told
    if not isinstance(figures, dict) or "miou" not in figures:
        raise ValueError(
            f"{path} must hold figures; make them with `seghgan evaluate --output figures.json` and export with "
            "`--figures figures.json`. Received: none"
        )
    return figures


def compare(candidate: dict[str, Any], baseline: dict[str, Any] | None, limits: Limits = Limits()) -> list[Check]:  # noqa: B008  # immutable
    """Return every check of a candidate; a figure that the baseline has and the candidate lacks does not pass.

    >>> good = {"miou": 0.7, "error_ratio": 0.6}
    >>> [check.passed for check in compare(good, {"miou": 0.72, "error_ratio": 0.6})]
    [True, True, False, True]
    """
    floors = [("miou", limits.min_miou, True), ("error_ratio", limits.max_error_ratio, False)]
    floors += [("outside_change", limits.max_outside_change, False)]
    checks = [_check(candidate, *one, "floor" if one[2] else "ceiling") for one in floors if one[0] in candidate]
    checks += [_beats(candidate, edited, unedited) for edited, unedited in UNEDITED.items() if edited in candidate]
    if not any(figure in candidate for figure in EDIT_FIGURES):
        checks.append(Check(EDIT_FIGURES[0], None, limits.max_error_ratio, "ceiling", False))
    others = {} if baseline is None else _of_other_networks(candidate, baseline)
    slack = {"miou": limits.miou_drop, "error_ratio": limits.error_ratio_rise}
    for figure, rule in RULES.items():
        if baseline is not None and figure in baseline and figure not in others:
            behind = slack.get(figure, rule.slack)
            bound = baseline[figure] + (-behind if rule.more_is_better else behind)
            checks.append(_check(candidate, figure, bound, rule.more_is_better, "baseline"))
    return checks


def _check(candidate: dict[str, Any], figure: str, bound: float, at_least: bool, rule: str) -> Check:
    value = candidate.get(figure)
    passed = value is not None and (value >= bound if at_least else value <= bound)  # a NaN passes nothing
    return Check(figure, value, bound, rule, passed)


def _measured(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    return figures.get("measured", {})


def _of_other_networks(candidate: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures that both sides have of different networks, each with what the network is."""
    different = [name for name in NETWORKS if _measured(candidate).get(name) != _measured(baseline).get(name)]
    return {
        figure: name for name in different for figure in NETWORKS[name] if figure in candidate and figure in baseline
    }


def differences(candidate: Path, baseline: Path | None) -> list[str]:
    """Say in what the measurements of two sides differ, so that their figures do not compare, or compare less surely."""
    if baseline is None:
        return []
    one, other = read_figures(candidate), read_figures(baseline)
    said = [f"{figure} is not compared: another {name}" for figure, name in _of_other_networks(one, other).items()]
    silent = [str(path) for path, side in ((candidate, one), (baseline, other)) if not _measured(side)]
    if silent:
        said.append(f"{' and '.join(silent)} do not say which records they were measured on; evaluate again")
    elif any(_measured(one).get(name) != _measured(other).get(name) for name in ("split", "records")):
        said.append("the sides were measured on different records; evaluate both on the same")
    if one.get("images") != other.get("images"):
        said.append(f"images that were measured: {_counts(one)} against {_counts(other)}")
    return said


def _counts(figures: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{count} ({stream})" for stream, count in figures.get("images", {}).items()) or "an unknown number"
    )


def _beats(candidate: dict[str, Any], edited: str, unedited: str) -> Check:
    """Check that edits lie below what is seen without them; not to know that is not to pass."""
    if unedited not in candidate:
        return Check(unedited, None, candidate[edited], "floor", False)
    bound = candidate[unedited]
    return Check(edited, candidate[edited], bound, "unedited", candidate[edited] < bound)


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
