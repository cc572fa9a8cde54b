"""Write drawn faces: a folder of TFRecords with exact masks and true pairs, and a contact sheet to look at."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seghgan_tf import __version__
from seghgan_tf.data.folder import (
    DATASET_FILE,
    SPLITS,
    Tally,
    describe,
    new_folder,
    sha256,
    storable,
    write_dataset_json,
    write_shard,
)
from seghgan_tf.data.schema import Face
from seghgan_tf.expressions import AU_NAMES, AUS, EMOTION_AUS, MAX_INTENSITY
from seghgan_tf.photos import to_png
from seghgan_tf.pictures import color_mask
from tfrecords_tools.drawn_faces import draw_faces, sample_aus, sample_faces

SHARD = 1024
CHUNK = 64
LEGIBLE = 160
"""Smallest side, in pixels, at which the faces of a contact sheet show every action unit."""

Progress = Callable[[int, int], None]
"""Called with the number of faces drawn so far and the number of all."""


def draw_dataset(
    output: Path,
    train: int,
    validation: int,
    test: int,
    size: int,
    seed: int,
    pairs: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw a data set into the folder `output` and return what its `dataset.json` says.

    Every record is another person with image, mask and action units; with `pairs` also the same person's picture at other
    action units. The same arguments give the same bytes; a folder that is already so is left as it is. The folder appears
    when all of it is written. Raises ValueError for counts or a size that cannot be, and for a folder that holds anything else.
    """
    counts = dict(zip(SPLITS, (train, validation, test), strict=True))
    if min(counts.values()) < 0 or sum(counts.values()) == 0:
        raise ValueError(
            f"`train`, `validation` and `test` must be at least 0, and not all 0. Received: {train}, {validation}, {test}"
        )
    if not 64 <= size <= 512:
        raise ValueError(f"`size` must be 64 to 512, the sizes faces are drawn well at. Received: {size}")
    output = storable(output)
    request = {**counts, "size": size, "seed": seed, "pairs": pairs, "tool_version": __version__}
    found = _existing(output, request)
    if found is not None:
        return found
    shards: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    tallies = {split: Tally() for split in SPLITS}
    done = 0
    with new_folder(output) as part:
        for number, (split, count) in enumerate(counts.items()):

            def drawn(faces: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + faces, sum(counts.values()))

            total = -(-count // SHARD)
            for shard in range(total):
                span = (shard * SHARD, min((shard + 1) * SHARD, count))
                faces = _drawn(tallies[split], split, number + 3 * seed, span, size, pairs, drawn)
                shards[split].append(write_shard(part, split, shard, total, faces, tallies[split]))
            done += count
        description = describe("drawn", request, shards, tallies)
        write_dataset_json(part, description)
    return description


def _existing(output: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """Return the description of a folder that already holds what is asked, None where nothing is there."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    path = output / DATASET_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        found = {}
    if found.get("request") != request:
        raise ValueError(
            f"`output` must be a new folder, or one drawn with the same settings; name another or remove it. Received: {output}, "
            f"which holds {found.get('request', 'other files')}"
        )
    for split in found["splits"].values():
        for shard in split["shards"]:
            file = output / shard["file"]
            if not file.is_file() or sha256(file) != shard["sha256"]:
                raise ValueError(
                    f"`output` must hold the shards its {DATASET_FILE} lists; remove {output} and draw it again. Received: a damaged {file.name}"
                )
    return found


def _drawn(
    tally: Tally, split: str, seed: int, span: tuple[int, int], size: int, pairs: bool, drawn: Callable[[int], None]
) -> Iterator[Face]:
    """Draw the faces `span` of a split, and count the pixels of their masks."""
    for start in range(*span, CHUNK):
        stop = min(start + CHUNK, span[1])
        faces = sample_faces(stop, seed, start)
        aus, target_aus = sample_aus(stop, seed, start=start), sample_aus(stop, seed + 2**31, neutral=0.1, start=start)
        images, masks = draw_faces(faces, aus, size)
        targets = draw_faces(faces, target_aus, size)[0] if pairs else None
        for i in range(stop - start):
            tally.add_mask(masks[i])
            yield Face(
                image_id=f"{split}-{start + i:06d}", image=to_png(images[i], 6), image_format="png", height=size, width=size,
                source="drawn", subject_id=f"drawn-{seed}-{start + i}", mask=to_png(masks[i], 6), aus=_named(aus[i]),
                target_image=None if targets is None else to_png(targets[i], 6),
                target_aus=_named(target_aus[i]) if pairs else None,
            )  # fmt: skip
        drawn(stop)


def _named(aus: np.ndarray) -> dict[str, float]:
    return dict(zip(AUS, aus.tolist(), strict=True))


def contact_sheet(path: Path, size: int, identities: int, seed: int) -> None:
    """Write a PNG: a row for each person at neutral and at each action unit in full, then at the emotions, with masks.

    `size` is the side of one picture in pixels. Raises ValueError where `identities` is below 1.

    Example: `contact_sheet(Path("sheet.png"), size=128, identities=6, seed=0)`
    """
    if identities < 1:
        raise ValueError(f"`identities` must be at least 1. Received: {identities}")
    faces = sample_faces(identities, seed)
    units = np.concatenate([np.zeros((1, len(AUS))), np.eye(len(AUS)) * MAX_INTENSITY])
    moods = np.array([[mood.get(name, 0.0) for name in AUS] for mood in EMOTION_AUS.values()])
    unit_names = ["neutral", *(f"{name} {AU_NAMES[name]}" for name in AUS)]
    band = 24
    blocks = [(unit_names, units, False), (list(EMOTION_AUS), moods, True)]
    height = sum(band + size * identities for _ in blocks)
    sheet = Image.new("RGB", (size * len(units), height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(9, size // 14))
    top = 0
    for names, aus, with_masks in blocks:
        for column, name in enumerate(names):
            pen.text((column * size * (2 if with_masks else 1) + 3, top + 5), name, "black", font)
        for row in range(identities):
            images, masks = draw_faces(faces.take([row] * len(aus)), aus, size)
            pictures = list(images)
            if with_masks:
                pictures = [each for pair in zip(images, color_mask(masks), strict=True) for each in pair]
            for column, picture in enumerate(pictures):
                sheet.paste(Image.fromarray(picture), (column * size, top + band + row * size))
        top += band + size * identities
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    sheet.save(aside, "PNG")
    aside.rename(path)
