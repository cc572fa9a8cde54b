"""The HTML report of a folder of records: one file, no script, nothing fetched."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seghgan_tf import html
from seghgan_tf.data.folder import SPLITS, split_of
from seghgan_tf.expressions import AU_NAMES, MAX_INTENSITY
from seghgan_tf.regions import CLASSES, PALETTE
from tfrecords_tools.inspect import Overview
from tfrecords_tools.rejects import noted


def write_report(path: Path, folder: Path, found: Overview) -> None:
    """Write what a folder holds as one HTML file: a sheet of pictures, splits, classes, action units, labels and rejects."""
    about = found.description
    totals, labels = found.tally.totals, found.tally.to_json()["labels"]
    counts = {key: [(each["reason"], each["count"]) for each in about.get(key, ())] for key in ("rejected", "excluded")}
    summary = (
        f"{about.get('source')}, written by version {about.get('tool_version')}. Of {found.read} records looked at, {totals['masks']} have "
        f"masks, {len(found.units)} action units, {sum(labels.values())} an emotion, {len(found.affect)} valence and arousal."
    )
    sections = {
        "Pictures": _sheet(found),
        "Splits": _splits(found),
        "Classes": _classes(about.get("class_frequency") or {}),
        "Action units": _units(found),
        "Correlations of action units": _correlations(found),
        "Emotions": _bars("emotion", list(labels.items())),
        "Valence and arousal": _affect(found),
        "Rejected": _bars("reason", counts["rejected"]),
        "Excluded": _bars("reason", counts["excluded"]),
        "Ignored": _bars("rule", list(about.get("ignored", {}).items())),
        "Noted": "".join(html.paragraph(line) for line in noted(about)),
    }
    parts = [html.paragraph(summary), *(f"<h2>{title}</h2>{body}" for title, body in sections.items() if body)]
    html.write(path, Path(folder).resolve().name, parts)


def _sheet(found: Overview) -> str:
    pairs = (
        f"<div>{html.picture(image, f'record {i}')}{'' if overlay is None else html.picture(overlay, f'record {i} under its mask')}</div>"
        for i, (image, overlay) in enumerate(found.pictures, 1)
    )
    return f'<p>Some records, each above its mask in colour.</p><div class="sheet">{"".join(pairs)}</div>'


def _bars(what: str, counts: Sequence[tuple[str, int]]) -> str:
    top = max((count for _, count in counts), default=0)
    return (
        html.table((what, "", "records"), [(name, html.bar(count / top), count) for name, count in counts])
        if top
        else ""
    )


def _splits(found: Overview) -> str:
    rows = []
    for split in SPLITS:
        entry = split_of(found.description, split)
        rows.append((split, entry["examples"], found.subjects.get(split) or "unknown", len(entry["shards"])))
    return html.table(("split", "examples", "subjects", "shards"), rows)


def _classes(shares: dict[str, float]) -> str:
    if not shares:
        return ""
    top = max(shares.values())
    rows = []
    for name, color in zip(CLASSES, PALETTE, strict=True):
        share = shares.get(name, 0.0)
        swatch = html.Markup(f'<span class="swatch" style="background:rgb{color}"></span>{name}')
        rows.append((swatch, html.bar(share / top), f"{share:.3%}"))
    return html.table(("class", "", "share of pixels"), rows)


def _units(found: Overview) -> str:
    rows = []
    for unit, values in found.known_values().items():
        counts = found.histogram(unit).tolist()
        said = f"{unit}: records at each intensity from 0 to {MAX_INTENSITY:g}: {', '.join(map(str, counts))}"
        cells = (len(values), f"{values.mean():.2f}", f"{(values > 1).mean():.0%}")
        rows.append((f"{unit} {AU_NAMES[unit]}", *cells, html.histogram(counts, said)))
    header = ("action unit", "known in", "mean", "above 1", "intensity 0 to 5 (heights are square roots)")
    return html.table(header, rows) if rows else ""


def _correlations(found: Overview) -> str:
    units = list(found.known_values())
    if len(units) < 2:
        return ""
    rows = [(unit, *map(_shade, values)) for unit, values in zip(units, found.correlations(), strict=True)]
    return "<p>Blue together, orange apart.</p>" + html.table(("", *(unit[2:] for unit in units)), rows)


def _shade(value: float) -> html.Markup:
    return html.Markup("-") if np.isnan(value) else html.shade(value, f"{value:.2f}")


def _affect(found: Overview) -> str:
    if not found.affect:
        return ""
    valence, arousal = np.array(found.affect).T
    counts = np.histogram2d(valence, arousal, bins=20, range=[[-1, 1], [-1, 1]])[0]
    shades = (255 - 255 * np.sqrt(counts / counts.max())).astype(np.uint8).T[::-1]
    grid = np.repeat(shades.repeat(10, 0).repeat(10, 1)[..., None], 3, -1)
    words = "Valence from left (-1) to right, arousal from bottom (-1) to top; darker is more."
    return html.image(grid, f"{len(found.affect)} records by valence and arousal. {words}")
