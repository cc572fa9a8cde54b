"""Make README's pictures of photographs: `python -m docs.photographs --london DIR` edits the astronaut and people kept out of training.

The astronaut (NASA, public domain, from scikit-image) is edited whole, her face found; six people of the London set
(DeBruine and Jones 2017, CC BY 4.0), who took no part in training, stand beside their true smile.
"""

import argparse
import io
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).parent / "images"
SIDE, CELL, BAND = 512, 200, 24
PEOPLE = 6
HEAD = (132, 0, 332, 200)
"""Where the astronaut's head is: left, top, right, bottom."""
ASKS: dict[str, dict[str, float]] = {
    "smile": {"AU12": 4.0},
    "open smile": {"AU12": 4.0, "AU25": 3.0},
    "brows up": {"AU01": 4.0, "AU02": 4.0},
    "eyes shut": {"AU45": 5.0},
    "surprise": {"AU01": 4.0, "AU02": 4.0, "AU05": 3.5, "AU25": 2.5, "AU26": 4.0},
}
"""What each column is asked to show."""


def main() -> None:
    """Edit, and write `astronaut.jpg` and `photographs.jpg`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--london", type=Path, required=True, help="Folder of the London set.")
    parser.add_argument("--preset", default="portrait-128", help="A packaged model, or an .npz file of weights.")
    parser.add_argument("--out", type=Path, default=IMAGES)
    given = parser.parse_args()
    from seghgan_tf.editing import Editor

    editor = Editor.from_preset(given.preset)
    given.out.mkdir(parents=True, exist_ok=True)
    _astronaut(editor).save(given.out / "astronaut.jpg", quality=90)
    _people(editor, given.london).save(given.out / "photographs.jpg", quality=88)


def _astronaut(editor: Any) -> Image.Image:
    import skimage.data

    photo = Image.fromarray(skimage.data.astronaut())
    file, asks = _png(photo), {"neutral": dict.fromkeys(editor.space.labels, 0.0), **ASKS}
    shown = {"the whole photo": file, "her face in it": _png(photo.crop(HEAD))}
    for title in ("neutral", "brows up", "eyes shut", "surprise"):
        shown[title] = _png(Image.open(io.BytesIO(editor.edit(file, asks[title]))).crop(HEAD))
    return _table([list(shown.values())], list(shown), 300)


def _people(editor: Any, london: Path) -> Image.Image:
    from tfrecords_tools.actions import ActionTable
    from tfrecords_tools.pairs import read_photos, split_people
    from tfrecords_tools.portraits import framed
    from tfrecords_tools.sitters import find_sitters

    sitters = find_sitters(read_photos("london", london, ActionTable(str(london / "aus.csv")), {})[0])
    apart = [one for one, split in zip(sitters, split_people(len(sitters)), strict=True) if split == "test"]
    rows = []
    for sitter in apart[:PEOPLE]:
        photo = _png(framed(sitter.neutral, SIDE)[0])
        edits = [editor.edit(photo, units) for units in ASKS.values()]
        rows.append([photo, *edits[:2], _png(framed(sitter.smiling, SIDE)[0]), *edits[2:]])
    titles = list(ASKS)
    return _table(rows, ["photo", *titles[:2], "true smile", *titles[2:]], CELL)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _table(rows: list[list[bytes]], titles: list[str], side: int) -> Image.Image:
    table = Image.new("RGB", (side * len(titles), BAND + side * len(rows)), "white")
    pen, font = ImageDraw.Draw(table), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        pen.text((column * side + 6, 3), title, "black", font)
        for row, files in enumerate(rows):
            image = Image.open(io.BytesIO(files[column])).convert("RGB")
            table.paste(image.resize((side, side), Image.Resampling.LANCZOS), (column * side, BAND + row * side))
    return table


if __name__ == "__main__":
    main()
