"""Measure face detectors: recall, false faces, error of the eyes and processor time, on turned, small and several faces.

    python benchmarks/detect.py DIR --faces 15 --reader VENV/bin/python

The model's own MTCNN, and with `--reader`, a Python that has mediapipe, BlazeFace beside it (`detect_read.py`).
"""

import argparse
import contextlib
import datetime
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from skimage import data as pictures

from seghgan_tf.detector import Detector
from seghgan_tf.frames import FRAME
from tfrecords_tools.contours import CONTOURS

Face = np.ndarray
"""Places x, y in pixels: the two eyes, then the outline of the skin from hair to chin, or points all over it."""

Find = Callable[[np.ndarray], dict[str, dict[str, Any]]]
"""Takes a picture; gives for each detector boxes (left, top, right, bottom), eyes and milliseconds of processor time."""

ASTRONAUT = ((202, 100), (246, 103), (225, 75), (181, 107), (270, 112), (187, 150), (262, 155), (225, 176))
"""Her eyes and outline, placed by hand."""


def photos(data: Path, count: int) -> list[tuple[Image.Image, Face]]:
    """Return photos and their face: London's hand-placed points, CelebA-HQ's frame and mask of the skin, the astronaut."""
    found = [(Image.fromarray(pictures.astronaut()), np.array(ASTRONAUT, float))]
    outline = next(polygon for name, polygon in CONTOURS if name == "skin")
    for points in sorted((data / "london" / "neutral_front").glob("*.tem"))[:count]:
        rows = np.array([line.split()[:2] for line in points.read_text().splitlines()[1:190]], float) / 2
        found.append((Image.open(points.with_suffix(".jpg")).convert("RGB"), rows[[0, 1, *outline]]))
    celeba = data / "celebamask" / "CelebAMask-HQ"
    for path in sorted((celeba / "CelebA-HQ-img").glob("*.jpg"), key=lambda path: int(path.stem))[:count]:
        skin = Image.open(celeba / "CelebAMask-HQ-mask-anno" / "0" / f"{int(path.stem):05}_skin.png").convert("L")
        image = Image.open(path).convert("RGB")
        places = np.argwhere(np.asarray(skin.resize((64, 64))) > 127)[:, ::-1] + 0.5
        found.append((image, np.concatenate([FRAME[:2], places / 64]) * image.width))
    return found


def box_of(face: Face) -> np.ndarray:
    """Return left, top, right, bottom of a face's outline."""
    return np.concatenate([face[2:].min(0), face[2:].max(0)])


def turned(image: Image.Image, face: Face, degrees: float) -> tuple[Image.Image, Face]:
    """Turn a photo about its middle."""
    angle, middle = np.deg2rad(degrees), np.array(image.size) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    grey = (120, 120, 120)
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=grey), (face - middle) @ turn.T + middle


def placed(image: Image.Image, face: Face, side: float, rng: random.Random) -> tuple[Image.Image, Face]:
    """Put a photo, its face's box this many pixels wide, somewhere in a picture of 640 x 480."""
    box = box_of(face)
    scale = side / (box[2] - box[0])
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(128, 30, (30, 40, 3)).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    place = [rng.randrange(max(1, big - little)) for big, little in zip(canvas.size, small.size, strict=True)]
    canvas.paste(small, tuple(place))
    return canvas, face * scale + place


def cases(data: Path, count: int, seed: int) -> Iterator[tuple[str, Image.Image, list[Face]]]:
    """Yield pictures with the faces in them, by kind."""
    rng, found = random.Random(seed), photos(data, count)
    for image, face in found:
        yield "upright", image, [face]
        for degrees in (15, 30, 45, 90):
            yield f"turned by {degrees}", *((one := turned(image, face, degrees * rng.choice((1, -1))))[0], [one[1]])
        for side in (80, 40, 20):
            yield f"{side} px wide, of 640", *((one := placed(image, face, side, rng))[0], [one[1]])
    for _ in range(max(1, count // 3)):
        canvas, faces = Image.new("RGB", (1500, 1000), (90, 100, 110)), []
        for i, (image, face) in enumerate(rng.sample(found, min(6, len(found)))):
            scale, place = 480 / image.width, (i % 3 * 500, i // 3 * 500)
            canvas.paste(image.resize((480, round(image.height * scale))), place)
            faces.append(face * scale + place)
        yield "six faces in one", canvas, faces


def own() -> Find:
    """Return the model's detector, warm."""
    graph = tf.function(Detector().__call__, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])

    def find(picture: np.ndarray) -> dict[str, dict[str, Any]]:
        began = time.process_time()
        faces = graph(picture)
        taken = time.process_time() - began
        there = faces.scores.numpy() > 0
        boxes, eyes = faces.boxes.numpy()[there], faces.points.numpy()[there][:, :2]
        return {"MTCNN": {"boxes": boxes, "eyes": eyes, "ms": 1e3 * taken}}

    find(np.zeros((64, 64, 3), np.uint8))
    return find


@contextlib.contextmanager
def beside(reader: str) -> Iterator[Find]:
    """Run `detect_read.py` in another Python, warm."""
    command = [reader, str(Path(__file__).with_name("detect_read.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def find(picture: np.ndarray) -> dict[str, dict[str, Any]]:
            process.stdin.write(b"%d %d\n" % picture.shape[:2] + picture.tobytes())  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return json.loads(process.stdout.readline())  # type: ignore[union-attr, no-any-return]

        find(np.zeros((64, 64, 3), np.uint8))
        yield find


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection of two boxes over their union."""
    both = np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0))
    return float(both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both))


def judged(faces: list[Face], found: dict[str, Any]) -> dict[str, Any]:
    """Return how many faces there are, how many boxes and eyes hit one, how far eyes are off, and boxes whose middle is in none."""
    boxes, eyes = (np.asarray(found[name], float) for name in ("boxes", "eyes"))
    off = []
    for face in faces:
        away = [np.hypot(*(one - face[:2]).T).mean() / np.hypot(*(face[1] - face[0])) for one in eyes]
        off += [min(away)] if away and min(away) < 0.3 else []
    truth = [box_of(face) for face in faces]
    middles = [(box[:2] + box[2:]) / 2 for box in boxes]
    within = [any((one[:2] <= place).all() and (place <= one[2:]).all() for one in truth) for place in middles]
    hit = sum(any(overlap(one, box) >= 0.5 for box in boxes) for one in truth)
    return {"faces": len(faces), "hit": hit, "off": off, "false": within.count(False), "ms": found["ms"]}


def row(results: list[dict[str, Any]]) -> list[str]:
    """Return recall by boxes, recall by eyes, false faces, error of the eyes and milliseconds of one detector on one kind."""
    count, off = sum(one["faces"] for one in results), [value for one in results for value in one["off"]]
    recall = [f"{value / count:.2f}" for value in (sum(one["hit"] for one in results), len(off))]
    false, error = sum(one["false"] for one in results), f"{np.median(off):.3f}" if off else "-"
    return [*recall, str(false), error, f"{np.median([one['ms'] for one in results]):.0f}"]


def main() -> None:
    """Print a row for each kind of picture, the detectors' figures beside each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--faces", type=int, default=15, help="Photos of each data set.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="Python that has mediapipe, for BlazeFace.")
    given = parser.parse_args()
    kinds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with contextlib.ExitStack() as stack:
        finders = [own(), *([stack.enter_context(beside(given.reader))] if given.reader else [])]
        for kind, image, faces in cases(given.data, given.faces, given.seed):
            for find in finders:
                for name, found in find(np.asarray(image)).items():
                    kinds.setdefault(kind, {}).setdefault(name, []).append(judged(faces, found))
    names = list(next(iter(kinds.values())))
    print(
        f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, seed {given.seed}; {' / '.join(names)}:\n"
    )
    print(
        "| pictures | faces | recall, IoU .5 | found by the eyes | false | eyes off, share of their distance | processor ms |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for kind, by_name in kinds.items():
        cells = zip(*(row(results) for results in by_name.values()), strict=True)
        count = sum(one["faces"] for one in by_name[names[0]])
        print(f"| {kind} | {count} | {' | '.join(' / '.join(cell) for cell in cells)} |")


if __name__ == "__main__":
    main()
