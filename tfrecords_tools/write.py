"""Convert: faces of a dataset to shards of TFRecords, shard by shard, in parallel, resumable."""

import csv
import dataclasses
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from seghgan_tf import __version__
from seghgan_tf.expressions import ExpressionSpace, expression_space
from seghgan_tf.regions import CLASSES, LABEL_ORDER
from tfrecords_tools.item import FRAME_EYES, Item, Rejected

SHARD = 256
SPLITS = ("train", "validation", "test")
MAX_PIXELS = 100_000_000
DONE = ".shard.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How faces become records: side of the images (None keeps them as they are), seed and fractions of the splits."""

    source: str
    size: int | None
    validation: float
    test: float
    seed: int
    labels: tuple[str, ...]

    def split_of(self, item: Item) -> str:
        """Return the split of a face: its own, or one drawn from its subject (or id), so that no subject is in two."""
        if item.split:
            return item.split
        digest = hashlib.sha256(f"{self.seed}/{item.subject_id or item.image_id}".encode()).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        return "test" if drawn < self.test else "validation" if drawn < self.test + self.validation else "train"


def open_photo(path: Path) -> Image.Image:
    """Open a photo upright in RGB; raises Rejected where it cannot be used."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Rejected("too large", f"{image.width} x {image.height}")
            if image.mode.startswith("I"):
                raise Rejected("16-bit", f"mode {image.mode}")
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Rejected("unreadable image", str(error)) from error


def read_mask(item: Item) -> Image.Image | None:
    """Read a face's mask, or paint it from its parts; raises Rejected for wrong ids or files."""
    try:
        if item.mask is not None:
            ids = np.asarray(Image.open(item.mask))
            if ids.ndim != 2 or ids.max() >= len(CLASSES):
                raise Rejected("wrong mask", f"values up to {ids.max()}, {ids.ndim} dimensions in {item.mask.name}")
            return Image.fromarray(ids.astype(np.uint8))
        painted: np.ndarray | None = None
        for number, path in item.mask_parts:
            part = np.asarray(Image.open(path).convert("L")) > 127
            painted = np.zeros(part.shape, np.uint8) if painted is None else painted
            if part.shape != painted.shape:
                raise Rejected("wrong mask", f"{path.name} is {part.shape}, others {painted.shape}")
            painted[part] = number
    except OSError as error:
        raise Rejected("unreadable mask", str(error)) from error
    return None if painted is None else Image.fromarray(painted)


def frame_matrix(eyes: tuple[tuple[float, float], tuple[float, float]], side: int) -> tuple[float, ...]:
    """Return the 2x3 similarity (row by row) that takes photo pixels to CelebA-HQ's frame of `side` pixels."""
    (ax, ay), (bx, by) = eyes
    (u, v), (s, t) = ((x * side, y * side) for x, y in FRAME_EYES)
    source, target = complex(bx - ax, by - ay), complex(s - u, t - v)
    turn = target / source
    move = complex(u, v) - turn * complex(ax, ay)
    return (turn.real, -turn.imag, move.real, turn.imag, turn.real, move.imag)


def _warp(image: Image.Image, matrix: tuple[float, ...], side: int, how: Image.Resampling) -> Image.Image:
    a, b, c, d, e, f = np.linalg.inv(np.array([*matrix, 0, 0, 1]).reshape(3, 3))[:2].ravel()
    return image.transform((side, side), Image.Transform.AFFINE, (a, b, c, d, e, f), how)


def _fit(image: Image.Image, side: int, how: Image.Resampling) -> Image.Image:
    return ImageOps.fit(image, (side, side), how)


def convert_item(item: Item, plan: Plan, aus: Mapping[str, float] | None) -> tuple[bytes, np.ndarray]:
    """Make one record; returns it with its class pixel counts. Raises Rejected."""
    from seghgan_tf.schema import Face, encode_face

    photo, mask, matrix = open_photo(item.photo), read_mask(item), None
    if mask is not None and mask.size != photo.size:
        if mask.width * photo.height != mask.height * photo.width:
            raise Rejected("wrong mask size", f"mask {mask.size}, photo {photo.size}")
        mask = mask.resize(photo.size, Image.Resampling.NEAREST)
    fits = plan.size in (None, photo.width) and photo.width == photo.height and item.eyes is None
    original = item.photo.read_bytes()
    kept = fits and original[:3] == b"\xff\xd8\xff" and photo.size == Image.open(io.BytesIO(original)).size
    if not kept:
        side = plan.size or min(photo.size)
        if item.eyes is not None:
            (ax, ay), (bx, by) = item.eyes
            pixels = (ax * photo.width, ay * photo.height), (bx * photo.width, by * photo.height)
            large = max(side, 256)
            matrix = frame_matrix(pixels, large)
            photo = _fit(_warp(photo, matrix, large, Image.Resampling.BICUBIC), side, Image.Resampling.LANCZOS)
            matrix = frame_matrix(pixels, side)
            mask = None if mask is None else _warp(mask, matrix, side, Image.Resampling.NEAREST)
        else:
            photo = _fit(photo, side, Image.Resampling.LANCZOS)
            mask = None if mask is None else _fit(mask, side, Image.Resampling.NEAREST)
    face = Face(
        image_id=item.image_id,
        image=original if kept else _encoded(photo, "JPEG"),
        image_format="jpeg",
        height=photo.height,
        width=photo.width,
        source=plan.source,
        subject_id=item.subject_id,
        mask=None if mask is None else _encoded(mask, "PNG"),
        aus=None if aus is None else dict(aus),
        label=item.label,
        valence=item.valence,
        arousal=item.arousal,
        alignment=matrix,
    )
    counts = (
        np.bincount(np.asarray(mask).ravel(), minlength=len(CLASSES))
        if mask is not None
        else np.zeros(len(CLASSES), np.int64)
    )
    return encode_face(face), counts


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 97, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


def write_shard(
    path: Path, items: list[Item], plan: Plan, actions: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Write one shard aside, sync and rename it, then its journal entry; a shard whose entry is there is left as it is."""
    import tensorflow as tf

    entry = path.with_name(path.name + DONE)
    if entry.is_file() and path.is_file():
        done: dict[str, Any] = json.loads(entry.read_text())
        return done
    aside, counts, rejected, written = path.with_name(f".{path.name}.part"), np.zeros(len(CLASSES), np.int64), [], 0
    with tf.io.TFRecordWriter(str(aside)) as writer:
        for item in items:
            try:
                record, pixels = convert_item(item, plan, actions.get(item.file))
            except Rejected as reason:
                rejected.append([str(item.file), reason.reason, reason.detail])
                continue
            writer.write(record)
            counts += pixels
            written += 1
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    digest = hashlib.sha256(aside.read_bytes()).hexdigest()
    aside.replace(path)
    done = {"file": path.name, "examples": written, "sha256": digest, "pixels": counts.tolist(), "rejected": rejected}
    part = entry.with_name(entry.name + ".part")
    part.write_text(json.dumps(done))
    part.replace(entry)
    return done


def convert(
    items: Iterable[Item],
    output: Path,
    plan: Plan,
    actions: Mapping[str, Mapping[str, float]] | None = None,
    workers: int = 1,
    on_error: str = "report",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the records of `items` into `output` and return its `dataset.json`.

    The same arguments give the same shards whatever `workers`; a cut run goes on with the shards that are missing.
    `on_error`: "report" rejects into rejected.csv, "fail" raises ValueError at the first. Raises ValueError for duplicate ids,
    no faces at all, or a folder written with another plan.
    """
    output.mkdir(parents=True, exist_ok=True)
    request = dataclasses.asdict(plan) | {"labels": list(plan.labels), "tool_version": __version__}
    _check_request(output / "request.json", request)
    by_split: dict[str, list[Item]] = {name: [] for name in SPLITS}
    seen: set[str] = set()
    for item in items:
        if item.image_id in seen:
            raise ValueError(f"`image_id` must be unique. Received: {item.image_id} twice")
        seen.add(item.image_id)
        by_split[plan.split_of(item)].append(item)
    if not seen:
        raise ValueError("`source` must hold at least one face. Received: none")
    jobs = []
    for split, members in by_split.items():
        shards = -(-len(members) // SHARD)
        for i in range(shards):
            jobs.append(
                (split, output / f"{split}-{i:05d}-of-{shards:05d}.tfrecord", members[i * SHARD : (i + 1) * SHARD])
            )
    results, ready = [], 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = []
        for _, path, members in jobs:
            asked = {item.file: (actions or {}).get(item.file) for item in members}
            futures.append(
                pool.submit(write_shard, path, members, plan, {k: v for k, v in asked.items() if v is not None})
            )
        for (split, _, members), future in zip(jobs, futures, strict=True):
            result = future.result()
            if on_error == "fail" and result["rejected"]:
                raise ValueError(f"`on_error` is fail and a face was rejected. Received: {result['rejected'][0]}")
            results.append((split, result))
            ready += len(members)
            if progress is not None:
                progress(ready, len(seen))
    return _describe(output, plan, request, results, has_aus=actions is not None)


def _check_request(path: Path, request: dict[str, Any]) -> None:
    if path.is_file() and json.loads(path.read_text()) != request:
        raise ValueError(f"`output` must be a new folder, because another conversion is in it. Received: {path.parent}")
    path.write_text(json.dumps(request, indent=1) + "\n")


def _describe(
    output: Path, plan: Plan, request: dict[str, Any], results: list[tuple[str, dict[str, Any]]], has_aus: bool
) -> dict[str, Any]:
    from seghgan_tf.schema import DATASET_FILE, SCHEMA_VERSION

    splits: dict[str, Any] = {name: {"examples": 0, "shards": []} for name in SPLITS}
    pixels, rejected = np.zeros(len(CLASSES), np.int64), []
    for split, result in results:
        splits[split]["examples"] += result["examples"]
        splits[split]["shards"].append({key: result[key] for key in ("file", "examples", "sha256")})
        pixels += np.array(result["pixels"])
        rejected += result["rejected"]
    space: ExpressionSpace | None = (
        expression_space(",".join(plan.labels) if plan.labels else "aus") if has_aus else None
    )
    description = {
        "schema_version": SCHEMA_VERSION, "label_order": LABEL_ORDER, "classes": list(CLASSES), "source": plan.source,
        "tool_version": __version__, "request": request, "image_size": plan.size, "pairs": False, "splits": splits,
        "expression": space.to_json() if space else None,
        "class_frequency": dict(zip(CLASSES, (pixels / max(pixels.sum(), 1)).round(6).tolist(), strict=True)),
        "rejected": dict(Counter(reason for _, reason, _ in rejected)),
    }  # fmt: skip
    with (output / "rejected.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "reason", "detail"), *rejected])
    aside = output / f".{DATASET_FILE}.part"
    aside.write_text(json.dumps(description, indent=1) + "\n")
    aside.replace(output / DATASET_FILE)
    for path in output.glob(f"*{DONE}"):
        path.unlink()
    return description
