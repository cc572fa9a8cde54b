"""The HTML report of a folder of records: one file, no script, nothing fetched."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seghgan_tf.data.folder import SPLITS, split_of
from seghgan_tf.expressions import AU_NAMES, AUS, EMOTIONS
from seghgan_tf.pictures import png
from seghgan_tf.regions import CLASSES, PALETTE
from tfrecords_tools.inspect import Overview

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ddd; --bar: #4a7fb5; --plus: 74,127,181; --minus: 190,80,70; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --line: #383838; --bar: #6ea3d8; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: var(--ink); background: var(--paper); }
h1 { overflow-wrap: anywhere; } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; } td, th { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 6px; } .sheet img { display: block; width: 100%; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; vertical-align: -1px; border: 1px solid #888; }
.bar { background: var(--bar); height: .8em; display: block; min-width: 1px; } .bars { width: min(20rem, 40vw); }
svg { display: block; fill: var(--bar); }
.matrix td, .matrix th { padding: .3rem; text-align: center; font-size: 12px; font-weight: normal; border: 0; }
.matrix th:first-child { position: sticky; left: 0; background: var(--paper); }
"""


def write_report(path: Path, folder: Path, found: Overview) -> None:
    """Write what a folder holds as one HTML file: a sheet of pictures, splits, classes, action units, labels and rejects."""
    about = found.description
    named = html.escape(Path(folder).resolve().name)
    parts = [
        f"<h1>{named}</h1>",
        f"<p>{html.escape(str(about.get('source')))}, written by version {html.escape(str(about.get('tool_version')))}. Of {found.read} records looked at, "
        f"{found.masks} have masks, {len(found.units)} action units, {sum(found.labels.values())} an emotion, {len(found.affect)} valence and arousal.</p>",
        _section("Pictures", _sheet(found)),
        _section("Splits", _splits(found)),
        _section("Classes", _classes(found)),
        _section("Action units", _units(found)),
        _section("Correlations of action units", _correlations(found)),
        _section("Emotions", _bars("emotion", [(EMOTIONS[i], found.labels[i]) for i in sorted(found.labels)])),
        _section("Valence and arousal", _affect(found)),
        _section("Rejected", _bars("reason", [(each["reason"], each["count"]) for each in about.get("rejected", ())])),
        _section("Excluded", _bars("reason", [(each["reason"], each["count"]) for each in about.get("excluded", ())])),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{named}: records</title>"
    page += '<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href="data:,">'
    Path(path).write_text(f"{page}<style>{STYLE}</style><main>{''.join(parts)}</main></html>\n", encoding="utf-8")


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>{body}" if body else ""


def _image(pixels: np.ndarray, alt: str) -> str:
    data = base64.b64encode(png(np.ascontiguousarray(pixels))).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def _sheet(found: Overview) -> str:
    pairs = (
        f"<div>{_image(image, f'record {i}')}{'' if overlay is None else _image(overlay, f'record {i} under its mask')}</div>"
        for i, (image, overlay) in enumerate(found.pictures, 1)
    )
    return f"<p>Some records, each above its mask in colour.</p><div class=sheet>{''.join(pairs)}</div>"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: tuple[int, ...] = (1,)) -> str:
    """Return a table of cells that are HTML already; the columns `numbers` are set right."""
    kind = [" class=number" if i in numbers else "" for i in range(len(header))]
    head = "".join(f"<th{kind[i]}>{cell}</th>" for i, cell in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{kind[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _bar(share: float) -> str:
    return f"<div class=bars><span class=bar style='width:{100 * share:.1f}%'></span></div>"


def _bars(what: str, counts: list[tuple[str, int]]) -> str:
    top = max((count for _, count in counts), default=0)
    rows = [(html.escape(name), str(count), _bar(count / top)) for name, count in counts] if top else []
    return _table((what, "records", ""), rows) if rows else ""


def _splits(found: Overview) -> str:
    rows = []
    for split in SPLITS:
        entry = split_of(found.description, split)
        people = len(found.subjects.get(split, ()))
        rows.append((split, str(entry["examples"]), str(people or "unknown"), str(len(entry["shards"]))))
    return _table(("split", "examples", "subjects", "shards"), rows, (1, 2, 3))


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


def _histogram(counts: np.ndarray, unit: str) -> str:
    """Return bars whose heights are square roots, since most faces show most action units not at all."""
    width, height = 200, 40
    step, tall = width / len(counts), height * np.sqrt(counts / (counts.max() or 1))
    bars = "".join(
        f"<rect x='{i * step:.1f}' y='{height - bar:.1f}' width='{step - 1:.1f}' height='{bar:.1f}'/>"
        for i, bar in enumerate(tall)
    )
    said = f"{unit}: records at each intensity from 0 to 5: {', '.join(map(str, counts))}"
    return f"<svg width={width} height={height} role=img aria-label='{said}'><title>{said}</title>{bars}</svg>"


def _units(found: Overview) -> str:
    rows = []
    for unit in found.known_units():
        values = found.units[:, AUS.index(unit)]
        values = values[~np.isnan(values)]
        cells = (str(len(values)), f"{values.mean():.2f}", f"{(values > 1).mean():.0%}")
        rows.append((f"{unit} {AU_NAMES[unit]}", *cells, _histogram(found.histogram(unit), unit)))
    header = ("action unit", "known in", "mean", "above 1", "intensity 0 to 5 (heights are square roots)")
    return _table(header, rows, (1, 2, 3)) if rows else ""


def _correlations(found: Overview) -> str:
    units = found.known_units()
    if len(units) < 2:
        return ""
    rows = ["<tr><th></th>" + "".join(f"<th>{unit[2:]}</th>" for unit in units) + "</tr>"]
    for unit, values in zip(units, found.correlations(), strict=True):
        rows.append(f"<tr><th>{unit}</th>" + "".join(_shade(value) for value in values) + "</tr>")
    return f"<p>Blue together, red apart.</p><div class='scroll matrix'><table>{''.join(rows)}</table></div>"


def _shade(value: float) -> str:
    if np.isnan(value):
        return "<td>-</td>"
    color = "--plus" if value >= 0 else "--minus"
    return f"<td style='background:rgba(var({color}),{0.8 * abs(value):.2f})'>{value:.2f}</td>"


def _affect(found: Overview) -> str:
    if not found.affect:
        return ""
    valence, arousal = np.array(found.affect).T
    counts = np.histogram2d(valence, arousal, bins=20, range=[[-1, 1], [-1, 1]])[0]
    shades = (255 - 255 * np.sqrt(counts / counts.max())).astype(np.uint8).T[::-1]
    grid = np.repeat(shades.repeat(10, 0).repeat(10, 1)[..., None], 3, -1)
    said = f"{len(found.affect)} records by valence and arousal"
    return (
        f"<p>Valence from left (-1) to right, arousal from bottom (-1) to top; darker is more.</p>{_image(grid, said)}"
    )
