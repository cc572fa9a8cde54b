"""The figures of benchmarks/peers/run.py as a table and as drawings, and their place in docs/performance.md."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[2]
PAGE, IMAGES = ROOT / "docs" / "performance.md", ROOT / "docs" / "images"
BEGIN, END = "<!-- made by make bench -->", "<!-- end of what make bench made -->"
OURS, PEER, AIM = "#2563a8", "#9aa3ad", "#c2410c"


def table(figures: dict[str, Any]) -> str:
    """Return the comparisons and the starts as two tables in Markdown, below the machine they were measured on."""
    machine, lines = figures["machine"], []
    lines += [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {machine['date']}, seed {machine['seed']}, `{machine['command']}`."
    ]
    if figures["rows"]:
        first = next(iter(figures["rows"].values()))
        counts = ", ".join(f"{name} {count:,}" for name, count in first["parameters"].items())
        lines[0] += (
            f" TensorFlow {first['tensorflow']}, PyTorch {first['torch']}. Parameters of the peers, counted: {counts}."
        )
        lines += ["", "| work | peer | ours ms | peer ms | ratio | aim | load |", "|---|---|--:|--:|--:|--:|--:|"]
    for row in figures["rows"].values():
        ratio = f"**{row['ratio']:.2f}**" if row["ratio"] <= row["aim"] else f"{row['ratio']:.2f}, not reached"
        lines.append(
            f"| {row['work']} | {row['peer']} ({row['layout']}) | {row['ours_ms']:,.0f} | {row['peer_ms']:,.0f} "
            f"| {ratio} | {row['aim']:.2f} | {row['load']:.1f} |"
        )
    if figures["starts"]:
        lines += [
            "",
            "| start | seconds | of processor time | aim on a quiet machine | load |",
            "|---|--:|--:|--:|--:|",
        ]
    for row in figures["starts"].values():
        lines.append(
            f"| {row['work']} | {row['wall']:.1f} | {row['processor']:.1f} | {row['aim']} | {row['load']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def printed(figures: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    return table(figures).replace("**", "").replace("`", "")


def drawing(figures: dict[str, Any]) -> str:
    """Return an SVG: a bar for each ratio, the peer's line at 1, and a mark where we want to be."""
    rows, left, unit, step = list(figures["rows"].values()), 450, 220, 34
    height, width = step * len(rows) + 60, left + round(1.6 * unit) + 60
    bottom, text = 20 + step * len(rows), 'font-family="sans-serif" font-size="13"'
    clear = 'stroke="white" stroke-width="5" paint-order="stroke"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>Our processor time by the peer's</title><rect width='{width}' height='{height}' fill='white'/>",
        f'<path d="M{left + unit} 10V{bottom}" stroke="{PEER}" stroke-width="2" stroke-dasharray="5 4"/>',
    ]
    for i, row in enumerate(rows):
        y, end, aim = 20 + step * i, left + unit * min(row["ratio"], 1.6), left + unit * row["aim"]
        parts += [
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end" {text}>{escape(row["work"].replace("`", ""))}</text>',
            f'<rect x="{left}" y="{y}" width="{end - left:.0f}" height="20" fill="{OURS}"/>',
            f'<text x="{end + 6:.0f}" y="{y + 15}" {clear} {text}>{row["ratio"]:.2f}</text>',
            f'<path d="M{aim:.0f} {y - 4}v28" stroke="{AIM}" stroke-width="3"/>',
        ]
    parts += [
        f'<text x="{left + unit}" y="{bottom + 18}" text-anchor="middle" {text}>the peer takes 1</text>',
        f'<text x="{left}" y="{bottom + 18}" text-anchor="end" fill="{AIM}" {text}>| the aim</text></svg>',
    ]
    return "\n".join(parts) + "\n"


def keep(figures: dict[str, Any]) -> None:
    """Put the tables between the page's marks and the drawing beside it."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n{END}{rest.split(END)[1]}")
    (IMAGES / "peers.svg").write_text(drawing(figures))
