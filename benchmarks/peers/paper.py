"""What steps should take on GPUs, calculated on paper: the longer of arithmetic and memory traffic; prints a table in Markdown, no GPU needed.

    python benchmarks/peers/paper.py

Operations are those of the convolutions. A pass through a network writes every layer's output once and reads it once; a way back is two passes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from train_cost import GPUS, USED, Pass

from seghgan_tf.config import read_config
from seghgan_tf.model import SegHGAN

BANDWIDTH = {"A100": 2.0e12, "H100": 3.35e12}
"""Bytes a second, the makers' peaks of the cards with 80 GB."""
STREAMED = 0.6
"""The share of that peak that is assumed to be reached."""


def works() -> Iterator[tuple[str, float, float]]:
    """Yield pieces of work with their operations and the bytes of float32 that they move."""
    for name, preset, batch, passes in (
        ("whole edit, `faces-128`, batch 8", "faces-128", 8, (1, 1, 0)),
        ("joint step, `faces-128`, batch 16, two critic updates", "faces-128", 16, (7, 7, 27)),
        ("BiSeNet step, `celebamask-512`, batch 16", "celebamask-512", 16, (3, 0, 0)),
    ):
        model = SegHGAN(read_config(preset).model)
        networks = (
            Pass.through(model.segmenter),
            Pass.through(model.generator, *model.local_generators.values()),
            Pass.through(model.critic, *model.local_critics.values()),
        )
        pairs = list(zip(passes, networks, strict=True))
        yield name, batch * sum(n * one.flop for n, one in pairs), batch * sum(2 * n * one.kept for n, one in pairs)


def table() -> str:
    """Return the table of the page."""
    rows = ["| work | TFLOP | GB moved | A100 float32 | A100 bfloat16 | H100 float32 | H100 bfloat16 |"]
    rows.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, flop, moved in works():
        cells = []
        for card, bandwidth in BANDWIDTH.items():
            for peak, used, share in zip(GPUS[card][1:], USED, (1.0, 0.5), strict=True):
                arithmetic, traffic = flop / (peak * 1e12 * used), share * moved / (bandwidth * STREAMED)  # type: ignore[operator]
                bound = "arithmetic" if arithmetic > traffic else "memory"
                cells.append(f"{1e3 * max(arithmetic, traffic):.1f} ms, {bound}")
        rows.append(f"| {name} | {flop / 1e12:.3f} | {moved / 1e9:.1f} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
