"""Variants side by side: mean and spread over seeds, differences paired by person and seed, curves at equal cost, as tables."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seghgan_tf.config import Config
from seghgan_tf.evaluation.cost import seconds_of, steps_within
from seghgan_tf.evaluation.figures import FIGURES
from seghgan_tf.evaluation.intervals import drawn, percentiles

COMPARED = ("miou", "f1", "boundary_f1", "error_ratio", "outside_change", "expression_error", "asked_error")
"""Figures that are compared, where a run has them."""
CURVES = ("miou", "paired", "expression")
"""Validation figures that are read off the curves."""

People = Mapping[str, Mapping[str, Sequence[float]]]
"""By kind of rows and person, the sums over their images and how many these are."""
Group = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Figures by variant and seed."""


class Table(NamedTuple):
    """A title, heads, and rows."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def difference(figure: str, variant: Sequence[People], baseline: Sequence[People]) -> dict[str, Any]:
    """Return how far a figure lies above the baseline's: mean over seeds, its 95 % interval over people, and each seed's.

    The runs of both come in the order of their seeds. Each draw of people is the same for both and for all seeds, so the interval says what
    other people would have changed; what other seeds would have is seen in `seeds`. Raises ValueError where others were measured.

    >>> ann_and_bob = {"borders": {"ann": [3.0, 1.0], "bob": [5.0, 1.0]}}
    >>> difference("boundary_f1", [{"borders": {"bob": [6.0, 1.0], "ann": [4.0, 1.0]}}], [ann_and_bob])
    {'difference': 1.0, 'interval': [1.0, 1.0], 'seeds': [1.0]}
    """
    kind, of = FIGURES[figure]
    seeds, draws = [], []
    for one, other in zip(variant, baseline, strict=True):
        if one[kind].keys() != other[kind].keys():
            raise ValueError("`variant` must be measured on the people of `baseline`. Received: other people")
        names = sorted(one[kind])
        ours, theirs = (np.array([side[kind][name] for name in names]) for side in (one, other))
        seeds.append(float(of(ours[:, :-1].sum(0), ours[:, -1].sum()) - of(theirs[:, :-1].sum(0), theirs[:, -1].sum())))
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold nothing that changes
            draws.append(of(*drawn(ours)) - of(*drawn(theirs)))
    return {"difference": statistics.fmean(seeds), "interval": percentiles(np.mean(draws, 0)), "seeds": seeds}


def compare(group: Group, baseline: str) -> dict[str, Any]:
    """Return of each variant mean, spread (None for one seed) and seeds of its figures, and its differences to the baseline."""
    found: dict[str, Any] = {}
    for variant, runs in group.items():
        shown = [figure for figure in COMPARED if all(figure in run for run in runs.values())]
        both = sorted(runs.keys() & group.get(baseline, {}).keys()) if variant != baseline else []
        pair = [[group[name][seed]["by_person"] for seed in both] for name in ((variant, baseline) if both else ())]
        found[variant] = {
            "figures": {figure: _over_seeds({seed: run[figure] for seed, run in runs.items()}) for figure in shown},
            "differences": {figure: difference(figure, *pair) for figure in shown if both},
        }
    return found


def _over_seeds(values: Mapping[int, float]) -> dict[str, Any]:
    each = list(values.values())
    spread = statistics.stdev(each) if len(each) > 1 else None
    return {"mean": statistics.fmean(each), "spread": spread, "seeds": dict(values)}


def at_equal_cost(
    configs: Mapping[str, Config],
    histories: Mapping[str, Mapping[int, list[dict[str, float]]]],
    costs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return of each variant what its validation curves say where it has cost what the cheapest one's whole run does.

    Curves are straight between evaluations. A figure that a stage does not have is 0 there, and left out.
    """
    budget = min(seconds_of(configs[variant], costs[variant]) for variant in histories)
    found: dict[str, Any] = {}
    for variant, runs in histories.items():
        steps = steps_within(configs[variant], costs[variant], budget)
        found[variant] = {
            "cost": dict(costs[variant]),
            "seconds": seconds_of(configs[variant], costs[variant]),
            "steps": steps,
            "figures": {
                figure: _over_seeds(values)
                for figure in CURVES
                if (values := {seed: _read_off(history, figure, steps) for seed, history in runs.items()})
                and not any(np.isnan(list(values.values())))
            },
        }
    return {"budget": budget, "variants": found}


def _read_off(history: list[dict[str, float]], figure: str, step: float) -> float:
    curve = [(line["step"], line[f"val_{figure}"]) for line in history if line.get(f"val_{figure}")]
    at, values = np.array(curve, np.float64).reshape(-1, 2).T
    return float(np.interp(step, at, values, left=np.nan)) if curve else float("nan")


def tables(segmenter: str, compared: Mapping[str, Any], costs: Mapping[str, Any] | None, baseline: str) -> list[Table]:
    """Return figures, differences and, where costs are known, figures at equal cost of the runs with one segmenter."""
    shown = [figure for figure in COMPARED if any(figure in one["figures"] for one in compared.values())]
    rows = [
        ["seeds", *(str(max(len(each["seeds"]) for each in one["figures"].values())) for one in compared.values())],
        *([figure, *(_mean(one["figures"].get(figure)) for one in compared.values())] for figure in shown),
    ]
    found = [Table(f"{segmenter}, equal steps: mean ± deviation over seeds", ["figure", *compared], rows)]
    rows = [
        [figure, f"{variant} - {baseline}", f"{each['difference']:+.4f}", _interval(each["interval"]), _zero(each["interval"]),
         " ".join(f"{value:+.4f}" for value in each["seeds"])]
        for figure in shown for variant, one in compared.items() if (each := one["differences"].get(figure))
    ]  # fmt: skip
    if rows:
        heads = ["figure", "difference", "mean", "95 % over people", "zero", "by seed"]
        found.append(Table(f"{segmenter}, equal steps: paired differences", heads, rows))
    if costs:
        found.append(_cost_table(segmenter, costs))
    return found


def _cost_table(segmenter: str, costs: Mapping[str, Any]) -> Table:
    variants = costs["variants"]
    stages = list(next(iter(variants.values()))["cost"])
    shown = [figure for figure in CURVES if all(figure in one["figures"] for one in variants.values())]
    rows = [
        [variant, *(f"{one['cost'][stage]:.3f}" for stage in stages), f"{one['seconds']:.0f}", f"{one['steps']:.0f}"]
        + [_mean(one["figures"][figure]) for figure in shown]
        for variant, one in variants.items()
    ]
    heads = ["variant", *(f"s a {stage} step" for stage in stages), "s a run", "steps bought"]
    title = f"{segmenter}, equal processor time ({costs['budget']:.0f} s): validation figures read off the curves"
    return Table(title, [*heads, *(f"val {figure}" for figure in shown)], rows)


def _mean(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return ""
    return f"{of['mean']:.4f}" + ("" if of["spread"] is None else f" ± {of['spread']:.4f}")


def _interval(interval: Sequence[float]) -> str:
    return " to ".join(f"{bound:+.4f}" for bound in interval)


def _zero(interval: Sequence[float]) -> str:
    return "inside" if interval[0] <= 0 <= interval[1] else "outside"
