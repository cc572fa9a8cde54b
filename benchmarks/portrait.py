"""Judge edits of photographs: people of the London set kept out of training, and CelebAMask-HQ faces.

    python benchmarks/portrait.py MODEL --london DIR --celebamask DIR --out DIR --reader VENV/bin/python

`--split validation` takes the six people by whom choices are made, as that of `calibrate.py`.

Photos are brought to the frame at 512 px and edited; `portrait_read.py`, run by the Python that `--reader` names (with dlib-bin,
face-recognition-models and mediapipe 0.10.14), then reads every picture. `--function MODULE:NAME` judges any function
(photo bytes, {unit: intensity}) -> edited bytes in place of a model. Nothing of CelebAMask-HQ may be published.
"""

import argparse
import csv
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from PIL import Image, ImageDraw

from seghgan_tf.expressions import EMOTION_AUS
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.pairs import read_photos, split_people
from tfrecords_tools.portraits import framed
from tfrecords_tools.sitters import find_sitters

SIDE = 512
REST = {"AU12": 0.0, "AU25": 0.0}
"""Asked of a smiling face that is to be neutral; labels that the model has besides these are asked as 0, too."""
EDITS: dict[str, dict[str, float]] = {
    "smile": {"AU12": 4.0},
    "open_smile": {"AU12": 4.0, "AU25": 3.0},
    "brows_up": {"AU01": 4.0, "AU02": 4.0},
    "brows_down": {"AU04": 4.0},
    "blink": {"AU45": 5.0},
    "lips_apart": {"AU25": 3.0},
    "jaw_drop": {"AU25": 2.0, "AU26": 3.0},
    "happy": dict(EMOTION_AUS["happy"]),
}
"""What is asked of a neutral face."""
CELEBA = 12
"""Neutral faces, and smiling ones, taken from CelebAMask-HQ."""

Edit = Callable[[bytes, Mapping[str, float]], bytes]


def main() -> None:
    """Edit all photos, have them read, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", nargs="?", help="A folder that `seghgan export` wrote, a packaged model, or an .npz file."
    )
    parser.add_argument("--function", help="MODULE:NAME of a function that edits, in place of a model.")
    parser.add_argument("--labels", help="Units that the function knows, joined by commas.")
    parser.add_argument("--london", type=Path, required=True)
    parser.add_argument(
        "--split", default="test", choices=("test", "validation"), help="Which people of the London set."
    )
    parser.add_argument("--celebamask", type=Path, help="Folder with CelebA-HQ-img and aus.csv.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reader", default=sys.executable, help="Python that has the reading packages.")
    given = parser.parse_args()
    edit, labels = _editor(given)
    work = [*_london(given.london, given.split), *(_celeba(given.celebamask) if given.celebamask else ())]
    listed = []
    about = _about(given.london)
    for name, group, photos, asks in work:
        listed.append(_edited(given.out, name, group, photos, asks, edit, labels) | {"about": about.get(name, {})})
        print(name, flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "pictures.json").write_text(json.dumps(listed, indent=1))
    reader = Path(__file__).with_name("portrait_read.py")
    subprocess.run([given.reader, str(reader), str(given.out)], check=True)
    for group in sorted({entry["group"] for entry in listed}):
        _sheet(given.out, [entry for entry in listed if entry["group"] == group], group)


def _editor(given: argparse.Namespace) -> tuple[Edit, tuple[str, ...]]:
    if given.function:
        module, _, name = given.function.partition(":")
        sys.path.insert(0, os.getcwd())
        return getattr(importlib.import_module(module), name), tuple(given.labels.split(","))
    from seghgan_tf.editing import Editor

    folder = Path(given.model)
    editor = Editor.from_export(folder) if folder.is_dir() else Editor.from_preset(given.model)
    editor.space = editor.space._replace(unproven=())  # what it refuses by name is judged, too
    return editor.edit, editor.space.labels


Work = tuple[str, str, dict[str, bytes], dict[str, tuple[str, dict[str, float]]]]
"""A name, its group, photos by name, and for each edit the photo it starts from and the units asked."""


def _london(source: Path, wanted: str) -> list[Work]:
    """Return the people of a split: neutral and smiling photo, the edits, and the smile asked as it was measured."""
    sitters = find_sitters(read_photos("london", source, ActionTable(str(source / "aus.csv")), {})[0])
    work = []
    for sitter, split in zip(sitters, split_people(len(sitters)), strict=True):
        if split == wanted:
            photos = {"photo": _framed(sitter.neutral), "true_smile": _framed(sitter.smiling)}
            own = {unit: sitter.smile_units[unit] for unit in REST}
            asks = {name: ("photo", units) for name, units in EDITS.items()}
            asks |= {"own_smile": ("photo", own), "neutral": ("true_smile", REST)}
            work.append((sitter.subject, "london", photos, asks))
    return work


def _about(source: Path) -> dict[str, dict[str, str]]:
    """Return age (up to the set's median, 26, or over it), gender and ethnicity of each person of the London set, as far as they told."""
    (table,) = source.glob("london*info.csv")
    with table.open(newline="") as file:
        rows = {f"london-{row['face_id']}": row for row in csv.DictReader(file)}
    found = {}
    for name, row in rows.items():
        age = row["face_age"] if row["face_age"] == "NA" else "up to 26" if float(row["face_age"]) <= 26 else "over 26"
        found[name] = {"age": age, "gender": row["face_gender"], "ethnicity": row["face_eth"]}
    return found


def _celeba(source: Path) -> list[Work]:
    """Return the first neutral and the first smiling faces of CelebAMask-HQ, by the table beside them."""
    with (source / "aus.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["success"] == "1"]
    rows.sort(key=lambda row: int(Path(row["filename"]).stem))
    work: list[Work] = []
    for group, wanted in (("celeba_neutral", lambda smile: smile < 0.3), ("celeba_smiling", lambda smile: smile > 3)):
        chosen = [row["filename"] for row in rows if wanted(float(row["AU12_r"]))][:CELEBA]
        for name in chosen:
            data = {"photo": (source / "CelebA-HQ-img" / name).read_bytes()}
            smiling = group == "celeba_smiling"
            asks = {"neutral": ("photo", REST)} if smiling else {k: ("photo", units) for k, units in EDITS.items()}
            work.append((f"celeba-{Path(name).stem}", group, data, asks))
    return work


def _framed(path: str) -> bytes:
    buffer = io.BytesIO()
    framed(path, SIDE)[0].save(buffer, "PNG")
    return buffer.getvalue()


def _edited(
    out: Path, name: str, group: str, photos: dict[str, bytes], asks: dict[str, tuple[str, dict[str, float]]], edit: Edit,
    labels: tuple[str, ...],
) -> dict[str, object]:  # fmt: skip
    """Write a person's photos and edits and return their entry; what the model has no label for is left out."""
    folder = out / "pictures" / name
    folder.mkdir(parents=True, exist_ok=True)
    pictures = dict(photos)
    for edited, (start, units) in asks.items():
        if set(units) <= set(labels):
            asked = dict.fromkeys(labels, 0.0) if edited == "neutral" else units
            pictures[edited] = edit(photos[start], asked)
    for key, data in pictures.items():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if image.size != (SIDE, SIDE):
            raise ValueError(f"`edit` must keep a picture's size. Received: {image.size} for {key}")
        image.save(folder / f"{key}.png")
    files = {key: f"pictures/{name}/{key}.png" for key in pictures}
    return {"name": name, "group": group, "files": files, "start": {key: asks[key][0] for key in asks if key in files}}


def _sheet(out: Path, entries: list[dict[str, object]], group: str) -> None:
    """Write one PNG: a person a row, a picture a column."""
    columns = list(entries[0]["files"])  # type: ignore[call-overload]
    side, band = 256, 20
    sheet = Image.new("RGB", (side * len(columns), band + side * len(entries)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, key in enumerate(columns):
        pen.text((column * side + 4, 4), key, "black")
        for row, entry in enumerate(entries):
            image = Image.open(out / entry["files"][key])  # type: ignore[index]
            sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (column * side, band + row * side))
    sheet.save(out / f"{group}.png")


if __name__ == "__main__":
    main()
