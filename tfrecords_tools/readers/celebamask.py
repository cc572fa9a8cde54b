"""CelebAMask-HQ: the official folder, or prepared label maps.

Official (github.com/switchablenorms/CelebAMask-HQ): `CelebA-HQ-img/N.jpg` and `CelebAMask-HQ-mask-anno/0..14/NNNNN_PART.png`, one
black and white PNG a part, an absent part without a file. Parts that overlap are painted in the order of the dataset's own `g_mask.py`, which
is the order of class ids. Label maps: `images/NAME.jpg` and `masks/NAME.png` whose values are class ids.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from seghgan_tf.regions import CLASSES
from tfrecords_tools.item import Item

IMAGES = ("CelebA-HQ-img", "images")


def read(folder: Path) -> Iterator[Item]:
    """Yield the faces of `folder`, in order of their names.

    Raises ValueError where the folder has neither layout.
    """
    if (folder / "CelebA-HQ-img").is_dir():
        yield from _official(folder)
    elif (folder / "images").is_dir() and (folder / "masks").is_dir():
        for photo in sorted((folder / "images").iterdir()):
            mask = folder / "masks" / f"{photo.stem}.png"
            yield Item(f"celebamask/{photo.stem}", photo.name, photo, mask=mask)
    else:
        raise ValueError(
            f"`source` must hold CelebA-HQ-img and CelebAMask-HQ-mask-anno, or images and masks. Received: {folder}"
        )


def _official(folder: Path) -> Iterator[Item]:
    parts: dict[int, dict[str, Path]] = {}
    for path in (folder / "CelebAMask-HQ-mask-anno").glob("*/*.png"):
        if match := re.fullmatch(r"(\d+)_(\w+)", path.stem):
            parts.setdefault(int(match[1]), {})[match[2]] = path
    photos = [path for path in (folder / "CelebA-HQ-img").iterdir() if path.stem.isdigit()]
    for photo in sorted(photos, key=lambda path: int(path.stem)):
        found = parts.get(int(photo.stem), {})
        painted = tuple((i, found[name]) for i, name in enumerate(CLASSES) if name in found)
        yield Item(f"celebamask/{int(photo.stem)}", photo.name, photo, mask_parts=painted)
