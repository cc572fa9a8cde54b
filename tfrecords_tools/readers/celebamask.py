"""CelebAMask-HQ: 30,000 celebrity photos with 19-class masks, as its owners ship it or as prepared label maps.

The layout, the class order and the split are those of the data set's own tools (`g_mask.py` and `g_partition.py` in
its repository). The split follows CelebA's partition file where it lies in the folder, else `g_partition.py`, which compares the
index of the mapping file with 162,771 and 182,638; its counts are 24,183, 2,993 and 2,824.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seghgan_tf.data.folder import SPLITS
from seghgan_tf.expressions import EMOTIONS
from tfrecords_tools.masks import ORDERS, checked
from tfrecords_tools.photo import Note, Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import image_files

VALIDATION, TEST = 162_771, 182_638
"""First index in CelebA of the validation and of the test split, as `g_partition.py` has them."""

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
PARTITION = "list_eval_partition.txt"
ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
PREPARED = (
    ("images", "masks"),
    ("images", "labels"),
    ("CelebA-HQ-img", "mask"),
    ("CelebA-HQ-img", "CelebAMask-HQ-mask"),
)
"""Names in use for the folders of prepared label maps."""


def read_celebamask(folder: Path, label_order: str = "g_mask") -> Iterator[Photo | Reject | Note]:
    """Yield the photos of CelebAMask-HQ in the order of their names.

    `folder` has either the official layout (`CelebA-HQ-img`, `CelebAMask-HQ-mask-anno/0..14`) or one of photos and label
    maps of the same names (`images` and `masks`), whose class order `label_order` names. Smiling, where the attribute file
    is there, becomes the label "happy"; not smiling says nothing. Raises ValueError for a folder of another
    layout, for label maps that are not in the named order, and for broken side files.
    """
    if label_order not in ORDERS:
        raise ValueError(f"`label-order` must be one of {', '.join(ORDERS)}. Received: {label_order}")
    folder = Path(folder)
    if (folder / "CelebAMask-HQ-mask-anno").is_dir() and (folder / "CelebA-HQ-img").is_dir():
        entries = _official(folder)
    else:
        names = next(((a, b) for a, b in PREPARED if (folder / a).is_dir() and (folder / b).is_dir()), None)
        if names is None:
            raise ValueError(
                "`source` must hold CelebA-HQ-img and CelebAMask-HQ-mask-anno (as shipped), or images and masks (label maps). "
                f"Received: {folder}"
            )
        entries = checked(_prepared(folder / names[0], folder / names[1], label_order))
    return _joined(entries, {"label": _smiles(folder / ATTRIBUTES), "split": _splits(folder)})


def _joined(entries: Iterator[Photo | Reject], tables: dict[str, dict[str, Any]]) -> Iterator[Photo | Reject | Note]:
    """Give photos what the side tables say of their number (00017.jpg is 17), and count what has nothing on the other side."""
    without = dict.fromkeys(tables, 0)
    left = {field: set(table) for field, table in tables.items()}
    for entry in entries:
        if isinstance(entry, Photo):
            key = _key(os.path.basename(entry.name))
            known: dict[str, Any] = {field: table.get(key) for field, table in tables.items()}
            entry = dataclasses.replace(entry, **known)
            for field, table in tables.items():
                without[field] += key not in table
                left[field].discard(key)
        yield entry
    for field, table in tables.items():
        if table:
            yield Note(f"{field}: photos without a row", without[field])
            yield Note(f"{field}: rows without a photo", len(left[field]))


def _key(name: str) -> str:
    stem = os.path.splitext(name)[0]
    return str(int(stem)) if re.fullmatch("[0-9]+", stem) else stem


def _official(folder: Path) -> Iterator[Photo | Reject]:
    photos, masks = folder / "CelebA-HQ-img", folder / "CelebAMask-HQ-mask-anno"
    for entry in image_files(photos):
        if isinstance(entry, Reject):
            yield entry
            continue
        photo, stem = Photo("", str(photos / entry), entry), os.path.splitext(entry)[0]
        if not re.fullmatch(r"[0-9]{1,9}", stem):
            yield photo.reject(Reason.NAME, "photos of CelebAMask-HQ are named by number, as in 17.jpg")
            continue
        number = int(stem)
        parts = masks / str(number // 2000) / f"{number:05d}"
        yield dataclasses.replace(photo, image_id=f"celebamask-{number}", mask=str(parts), mask_order="parts")


def _prepared(photos: Path, masks: Path, order: str) -> Iterator[Photo | Reject]:
    for entry in image_files(photos):
        if isinstance(entry, Reject):
            yield entry
            continue
        stem = os.path.splitext(entry)[0]
        mask = next((path for ending in ("", "_mask") if os.path.exists(path := f"{masks / stem}{ending}.png")), None)
        if mask is None:
            detail = f"there is no {readable(stem)}.png among the masks"
            yield Reject(readable(entry), Reason.MASK_MISSING, detail, path=str(photos / entry))
            continue
        yield Photo(f"celebamask-{readable(stem)}", str(photos / entry), entry, mask=mask, mask_order=order)


def _smiles(path: Path) -> dict[str, int | None]:
    """Return the label "happy" for each photo whose attribute Smiling is 1, None for others: at most 30,000 names in memory."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="backslashreplace") as lines:
        lines.readline()
        names = lines.readline().split()
        if "Smiling" not in names:
            raise _broken(path, 2, "must name the attributes, Smiling among them", " ".join(names))
        place, happy = names.index("Smiling") + 1, EMOTIONS.index("happy")
        smiles: dict[str, int | None] = {}
        for number, row in enumerate(map(str.split, lines), 3):
            if row and (len(row) != len(names) + 1 or row[place] not in ("1", "-1")):
                raise _broken(path, number, f"must be a file name and {len(names)} times 1 or -1", " ".join(row))
            if row:
                smiles[_key(row[0])] = happy if row[place] == "1" else None
    return smiles


def _splits(folder: Path) -> dict[str, str]:
    """Return the official split of each photo, empty where the mapping file is not there; CelebA's 202,599 names at most in memory."""
    mapping, partition = folder / MAPPING, folder / PARTITION
    if not mapping.is_file():
        return {}
    official = _partition(partition) if partition.is_file() else None
    splits = {}
    with mapping.open(encoding="utf-8", errors="backslashreplace") as lines:
        for number, row in enumerate(map(str.split, lines), 1):
            if not row or (number == 1 and not row[0].isdecimal()):
                continue
            if len(row) != 3 or not all(re.fullmatch("[0-9]{1,9}", text) for text in row[:2]):
                raise _broken(
                    mapping, number, "must be a number, its index in CelebA and the file there", " ".join(row)
                )
            index = int(row[1])
            if official is None:
                splits[_key(row[0])] = SPLITS[int(index >= VALIDATION) + int(index >= TEST)]
            elif row[2] in official:
                splits[_key(row[0])] = official[row[2]]
            else:
                raise _broken(mapping, number, f"must name a file that {PARTITION} has", row[2])
    return splits


def _partition(path: Path) -> dict[str, str]:
    """Return the split of each photo of CelebA, as its owners' partition file has it: 0, 1 or 2 after the name."""
    official = {}
    with path.open(encoding="utf-8", errors="backslashreplace") as lines:
        for number, row in enumerate(map(str.split, lines), 1):
            if row and (len(row) != 2 or row[1] not in ("0", "1", "2")):
                raise _broken(path, number, "must be a file name and 0, 1 or 2", " ".join(row))
            if row:
                official[row[0]] = SPLITS[int(row[1])]
    return official


def _broken(path: Path, number: int, must: str, received: str) -> ValueError:
    return ValueError(
        f"`{path}`, line {number}, {must}; fetch the file again, or take it away to go without. Received: {received[:100]!r}"
    )
