"""Measure the face detector: recall, false faces, error of the eyes and milliseconds, turned, small and several faces.

python benchmarks/detect.py ../shared/data --faces 15
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from seghgan_tf.detector import Detector
from seghgan_tf.frames import FRAME

Eyes = np.ndarray
"""Places x, y of the two eyes (2, 2) in pixels."""


def photos(data: Path, count: int) -> list[tuple[Image.Image, Eyes]]:
    """Return photos and their eyes: London's hand-placed points, CelebA-HQ's frame."""
    found = []
    for points in sorted((data / "london" / "neutral_front").glob("*.tem"))[:count]:
        rows = [line.split()[:2] for line in points.read_text().splitlines()[1:3]]
        found.append((Image.open(points.with_suffix(".jpg")).convert("RGB"), np.array(rows, float) / 2))
    for path in sorted((data / "celebamask" / "CelebAMask-HQ" / "CelebA-HQ-img").glob("*.jpg"))[:count]:
        image = Image.open(path).convert("RGB")
        found.append((image, np.array(FRAME[:2]) * image.width))
    return found


def turned(image: Image.Image, eyes: Eyes, degrees: float) -> tuple[Image.Image, Eyes]:
    """Turn a photo about its middle."""
    angle, middle = np.deg2rad(degrees), np.array(image.size) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    grey = (120, 120, 120)
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=grey), (eyes - middle) @ turn.T + middle


def placed(image: Image.Image, eyes: Eyes, distance: float, rng: random.Random) -> tuple[Image.Image, Eyes]:
    """Put a photo, its eyes this many pixels apart, somewhere in a picture of 1280 x 960."""
    scale = distance / np.hypot(*(eyes[1] - eyes[0]))
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(128, 30, (60, 80, 3)).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(noise).resize((1280, 960), Image.Resampling.BICUBIC)
    place = [rng.randrange(max(1, big - little)) for big, little in zip(canvas.size, small.size, strict=True)]
    canvas.paste(small, tuple(place))
    return canvas, eyes * scale + place


def cases(data: Path, count: int) -> Iterator[tuple[str, Image.Image, list[Eyes]]]:
    """Yield pictures with the eyes of the faces in them, by kind."""
    rng, found = random.Random(0), photos(data, count)
    for image, eyes in found:
        yield "as they are", image, [eyes]
        for degrees in (15, 30, 45, 90):
            yield f"turned by {degrees}", *((one := turned(image, eyes, degrees * rng.choice((1, -1))))[0], [one[1]])
        for distance in (80, 40, 24, 16, 10):
            yield f"eyes {distance} px apart", *((one := placed(image, eyes, distance, rng))[0], [one[1]])
    for _ in range(max(1, count // 3)):
        canvas, all_eyes = Image.new("RGB", (1500, 1000), (90, 100, 110)), []
        for i, (image, eyes) in enumerate(rng.sample(found, 6)):
            scale, place = 480 / image.width, (i % 3 * 500, i // 3 * 500)
            canvas.paste(image.resize((480, round(image.height * scale))), place)
            all_eyes.append(eyes * scale + place)
        yield "six in one", canvas, all_eyes


def main() -> None:
    """Print a row for each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--faces", type=int, default=15, help="Photos of each data set.")
    arguments = parser.parse_args()
    find = tf.function(Detector().__call__, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    find(np.zeros((64, 64, 3), np.uint8))
    kinds: dict[str, list[tuple[int, int, int, list[float], float]]] = {}
    for kind, image, truth in cases(arguments.data, arguments.faces):
        began = time.perf_counter()
        faces = find(np.asarray(image))
        taken = time.perf_counter() - began
        left = list(faces.points.numpy()[faces.scores.numpy() > 0][:, :2])
        errors = []
        for eyes in truth:
            away = [np.hypot(*(one - eyes).T).mean() / np.hypot(*(eyes[1] - eyes[0])) for one in left]
            if away and min(away) < 0.3:
                errors.append(float(min(away)))
                left.pop(int(np.argmin(away)))
        kinds.setdefault(kind, []).append((len(truth), len(errors), len(left), errors, taken))
    print("| pictures | faces | found | false | eyes off, share of their distance | ms |\n|---|---|---|---|---|---|")
    for kind, rows in kinds.items():
        off = np.median([error for row in rows for error in row[3]] or [np.nan])
        all_faces, found, false = (sum(row[i] for row in rows) for i in range(3))
        print(f"| {kind} | {all_faces} | {found} | {false} | {off:.3f} | {1e3 * np.median([r[4] for r in rows]):.0f} |")


if __name__ == "__main__":
    main()
