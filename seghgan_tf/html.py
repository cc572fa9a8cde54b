"""One self-contained HTML page from pictures, curves and tables."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from seghgan_tf.photos import Pixels, to_png

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #d9dee6; --page: #fbfcfe; --card: #fff; --a: #2563c9; --b: #c2571a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf0; --soft: #9aa5b4; --line: #323a46; --page: #14181e; --card: #1c222b; --a: #6ea3ff; --b: #f0985b; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 auto; max-width: 1100px; padding: 2rem 1.2rem 5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; } p { margin: .4rem 0; max-width: 48rem; }
.soft { color: var(--soft); } figure { margin: 1rem 0; overflow-x: auto; } figcaption { color: var(--soft); font-size: .9rem; }
img { image-rendering: pixelated; max-width: none; border-radius: 4px; } .curves { display: flex; flex-wrap: wrap; gap: 1rem; }
.curve { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; } th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } .pass { color: #1a7f4b; } .fail { color: #c0342b; font-weight: 600; }
.scroll { overflow-x: auto; } h1 { overflow-wrap: anywhere; } svg.bars { display: block; fill: var(--a); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 6px; } .sheet img { display: block; width: 100%; }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em; vertical-align: -1px; border: 1px solid var(--soft); }
.bar { background: var(--a); height: .8em; display: block; min-width: 1px; width: min(20rem, 40vw); } .shade { padding: .3rem; }
.heads { display: flex; font-size: .72rem; color: var(--soft); } .heads span { text-align: center; flex: none; }
""".strip()


class Markup(str):
    """HTML that is safe to use as it is."""


def image(pixels: Pixels, caption: str, zoom: float = 1, heads: Sequence[str] = (), column: int = 0) -> str:
    """Return a figure with an embedded PNG; `heads` stand above its columns, each `column` CSS pixels wide."""
    above = "".join(f'<span style="width:{column}px">{html.escape(head)}</span>' for head in heads)
    size = f'width="{pixels.shape[1] * zoom:.0f}" height="{pixels.shape[0] * zoom:.0f}"'
    shown = picture(pixels, caption).replace("<img", f"<img {size}")
    return f'<figure><div class="heads">{above}</div>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>'


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; cells are escaped but those that are already `Markup`."""
    cells = [
        "".join(f"<td>{cell if isinstance(cell, Markup) else html.escape(str(cell))}</td>" for cell in row)
        for row in rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    head = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def picture(pixels: Pixels, alt: str) -> Markup:
    """Return pixels as an embedded PNG with nothing around it."""
    return Markup(
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(to_png(pixels, 6)).decode()}">'
    )


def bar(share: float) -> Markup:
    """Return a bar of a share, 0 to 1, of the width that bars have."""
    return Markup(f'<span class="bar" style="width:calc({share:.3f} * min(20rem, 40vw))"></span>')


def histogram(counts: Sequence[int], said: str) -> Markup:
    """Return bars as SVG; their heights are square roots of the counts, so that rare ones are seen."""
    width, height = 200, 40
    step, top = width / len(counts), max(*counts, 1)
    tall = [height * (count / top) ** 0.5 for count in counts]
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - each:.1f}" width="{step - 1:.1f}" height="{each:.1f}"/>'
        for i, each in enumerate(tall)
    )
    said = html.escape(said)
    return Markup(
        f'<svg class="bars" width="{width}" height="{height}" role="img" aria-label="{said}"><title>{said}</title>{bars}</svg>'
    )


def shade(share: float, text: str) -> Markup:
    """Return text on a ground that shows a share from -1 (orange) over 0 (nothing) to 1 (blue)."""
    color, percent = "--a" if share >= 0 else "--b", f"{80 * min(abs(share), 1.0):.0f}%"
    return Markup(
        f'<span class="shade" style="background:color-mix(in srgb, var({color}) {percent}, transparent)">{html.escape(text)}</span>'
    )


def matrix(corner: str, rows: Sequence[str], heads: Sequence[str], values: Sequence[Sequence[float]], form: str) -> str:
    """Return a table of numbers, each shaded by its share of the largest size among them; `form` formats one."""
    top = max((abs(value) for row in values for value in row), default=0.0) or 1.0
    cells = [
        (name, *(shade(value / top, format(value, form)) for value in row))
        for name, row in zip(rows, values, strict=True)
    ]
    return table((corner, *heads), cells)


def paragraph(text: str) -> Markup:
    """Return text as a paragraph."""
    return Markup(f"<p>{html.escape(text)}</p>")


def verdict(passed: bool) -> Markup:
    """Return "reached" or "missed" in its colour."""
    return Markup(f'<span class="{"pass" if passed else "fail"}">{"reached" if passed else "missed"}</span>')


def curve(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a small line chart of named (x, y) series as SVG."""
    width, height, left, low_margin = 310, 170, 46, 22
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)

    def place(x: float, y: float) -> str:
        right = left + (width - left - 6) * (x - x0) / (x1 - x0)
        return f"{right:.1f},{6 + (height - low_margin - 6) * (1 - (y - y0) / (y1 - y0)):.1f}"

    colors = ["var(--a)", "var(--b)", "var(--soft)", *(f"hsl({67 * i % 360} 55% 50%)" for i in range(len(lines)))]
    drawn = "".join(
        f'<polyline fill="none" stroke="{color}" stroke-width="1.8" points="{" ".join(place(*point) for point in line)}"/>'
        for (_, line), color in zip(lines.items(), colors, strict=False)
    )
    legend = " ".join(
        f'<tspan fill="{color}">{html.escape(name)}</tspan>' for name, color in zip(lines, colors, strict=False)
    )
    return (
        f'<div class="curve"><strong>{html.escape(title)}</strong><br><svg width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(title)}" font-size="11"><g fill="var(--soft)"><text x="0" y="14">{y1:.3g}</text>'
        f'<text x="0" y="{height - low_margin}">{y0:.3g}</text><text x="{left}" y="{height - 4}">{x0:.0f}</text>'
        f'<text x="{width - 6}" y="{height - 4}" text-anchor="end">{x1:.0f} steps</text></g>'
        f'<text x="{width / 2}" y="{height - 4}" text-anchor="middle">{legend}</text>{drawn}</svg></div>'
    )


def write(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write the page; it needs no other file and no network."""
    body = "\n".join(parts)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f"<main><h1>{html.escape(title)}</h1>\n{body}</main></html>\n",
        encoding="utf-8",
    )
