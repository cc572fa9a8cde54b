"""The HTML report of a folder of records: one file, no script, nothing fetched."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seghgan_tf.expressions import AU_NAMES, EMOTIONS
from seghgan_tf.pictures import png
from seghgan_tf.regions import CLASSES, PALETTE
from tfrecords_tools.inspect import Overview
from tfrecords_tools.records import SPLITS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; background: #fff; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #eee; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.sheet { display: flex; flex-wrap: wrap; gap: 6px; } .sheet img { display: block; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; vertical-align: -1px; border: 1px solid #888; }
.bar { background: #4a7fb5; height: .8em; display: inline-block; min-width: 1px; }
.matrix td { padding: .3rem; text-align: center; font-size: 12px; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } td, th { border-color: #333; } h2 { border-color: #555; } }
"""


def write_report(path: Path, folder: Path, found: Overview) -> None:
    """Write what a folder holds as one HTML file: a sheet of pictures, splits, classes, action units, labels and rejects."""
    about = found.description
    parts = [
        f"<h1>{html.escape(Path(folder).resolve().name)}</h1>",
        f"<p>{html.escape(str(about.get('source')))}, written by version {html.escape(str(about.get('tool_version')))}; "
        f"{found.read} records looked at.</p>",
        _section("Pictures", _sheet(found)),
        _section("Splits", _splits(found)),
        _section("Classes", _classes(found)),
        _section("Action units", _units(found)),
        _section("Correlations of action units", _correlations(found)),
        _section("Emotions", _bars([(EMOTIONS[i], found.labels[i]) for i in sorted(found.labels)])),
        _section("Valence and arousal", _affect(found)),
        _section("Rejected", _bars([(each["reason"], each["count"]) for each in about.get("rejected", ())])),
        _section("Excluded", _bars([(each["reason"], each["count"]) for each in about.get("excluded", ())])),
    ]
    page = "<!doctype html><html lang=en><meta charset=utf-8><title>Records</title>"
    page += '<meta name=viewport content="width=device-width, initial-scale=1">'
    Path(path).write_text(f"{page}<style>{STYLE}</style>{''.join(parts)}</html>\n", encoding="utf-8")


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}" if body else ""


def _image(pixels: np.ndarray, alt: str) -> str:
    data = base64.b64encode(png(np.ascontiguousarray(pixels))).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _sheet(found: Overview) -> str:
    pairs = (
        f"<div>{_image(image, 'a record')}{'' if overlay is None else _image(overlay, 'its mask over it')}</div>"
        for image, overlay in found.pictures
    )
    return f"<div class=sheet>{''.join(pairs)}</div>"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _bar(share: float) -> str:
    return f"<span class=bar style='width:{20 * share:.2f}em'></span>"


def _bars(counts: list[tuple[str, int]]) -> str:
    top = max((count for _, count in counts), default=0)
    return (
        _table(("", "", ""), [(html.escape(name), str(count), _bar(count / top)) for name, count in counts])
        if top
        else ""
    )


def _splits(found: Overview) -> str:
    rows = []
    for split in SPLITS:
        entry = found.description["splits"].get(split, {"examples": 0, "shards": []})
        people = len(found.subjects.get(split, ()))
        rows.append((split, str(entry["examples"]), str(people or "unknown"), str(len(entry["shards"]))))
    return _table(("split", "examples", "subjects", "shards"), rows)


def _classes(found: Overview) -> str:
    shares = found.description.get("class_frequency") or {}
    if not shares:
        return ""
    top = max(shares.values())
    rows = []
    for name, color in zip(CLASSES, PALETTE, strict=True):
        share = shares.get(name, 0.0)
        swatch = f"<span class=swatch style='background:rgb{color}'></span>"
        rows.append((swatch + name, f"{share:.3%}", _bar(share / top)))
    return _table(("class", "share of pixels", ""), rows)


def _histogram(counts: np.ndarray) -> str:
    top, width, height = counts.max() or 1, 200, 40
    step = width / len(counts)
    bars = "".join(
        f"<rect x='{i * step:.1f}' y='{height - count / top * height:.1f}' width='{step - 1:.1f}' height='{count / top * height:.1f}'/>"
        for i, count in enumerate(counts)
    )
    return f"<svg width={width} height={height} fill='#4a7fb5' role=img aria-label='histogram from 0 to 5'>{bars}</svg>"


def _units(found: Overview) -> str:
    rows = []
    for unit in found.known_units():
        counts = found.histogram(unit)
        rows.append((f"{unit} {AU_NAMES[unit]}", str(counts.sum()), _histogram(counts)))
    return _table(("action unit", "known in", "intensity 0 to 5"), rows) if rows else ""


def _correlations(found: Overview) -> str:
    units = found.known_units()
    if len(units) < 2:
        return ""
    rows = ["<tr><td></td>" + "".join(f"<td>{unit[2:]}</td>" for unit in units) + "</tr>"]
    for unit, values in zip(units, found.correlations(), strict=True):
        rows.append(f"<tr><td>{unit}</td>" + "".join(_shade(value) for value in values) + "</tr>")
    return f"<table class=matrix>{''.join(rows)}</table>"


def _shade(value: float) -> str:
    if np.isnan(value):
        return "<td>-</td>"
    color = "74,127,181" if value >= 0 else "190,80,70"
    return f"<td style='background:rgba({color},{abs(value):.2f})'>{value:.2f}</td>"


def _affect(found: Overview) -> str:
    if not found.affect:
        return ""
    valence, arousal = np.array(found.affect).T
    counts = np.histogram2d(valence, arousal, bins=20, range=[[-1, 1], [-1, 1]])[0]
    shades = (255 - 255 * np.sqrt(counts / counts.max())).astype(np.uint8).T[::-1]
    grid = np.repeat(shades.repeat(10, 0).repeat(10, 1)[..., None], 3, -1)
    return f"<p>Valence from left (-1) to right, arousal from bottom (-1) to top; darker is more.</p>{_image(grid, 'valence and arousal')}"
