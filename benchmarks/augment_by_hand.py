"""What augmentation costs where OpenCV does it, the step's beside: `python benchmarks/augment_by_hand.py --help`.

Needs `pip install opencv-python-headless`, which nothing else here does.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np
import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.data.augment import augment, draw

BATCH, ROUNDS = 32, 20
COLOUR = np.array([[1.05, 0.02, 0.01, 4], [0.03, 1.04, 0.01, 4], [0.03, 0.02, 1.02, 4]], np.float32)
HOW = AugmentConfig(flip=True, crop=0.05, scale=0.1, colour=0.1)


def move(images: np.ndarray, out: np.ndarray, interpolation: int) -> None:
    """Shift with the border mirrored, enlarge, and flip every second image; whole pixels, which is less than the loader does."""
    size = images.shape[1]
    edge, side = size // 20, int(size * 0.95)
    for number, (image, made) in enumerate(zip(images, out, strict=True)):
        bordered = cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REFLECT_101)
        cv2.resize(bordered[3 : 3 + side, 5 : 5 + side], (size, size), made, interpolation=interpolation)
        if number % 2:
            cv2.flip(made, 1, made)


def paint(images: np.ndarray) -> None:
    """Change the colours in place, in bytes."""
    for image in images:
        cv2.transform(image, COLOUR, image)


def to_float(images: np.ndarray, floats: np.ndarray) -> None:
    """Turn bytes into [-1, 1], image by image, while it lies in the processor's cache."""
    for image, made in zip(images, floats, strict=True):
        cv2.addWeighted(image, 1 / 127.5, image, 0, -1, made, cv2.CV_32F)


def cost(function: Callable[[], object]) -> str:
    """Processor microseconds an image: the median of the rounds."""
    function()
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        function()
        times.append((time.process_time() - start) / BATCH * 1e6)
    return f"{statistics.median(times):.0f} µs an image"


def main() -> None:
    """Measure each step by hand, then the step's augmentation as a whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    generator = np.random.default_rng(args.seed)
    images = generator.integers(0, 256, (BATCH, args.size, args.size, 3), np.uint8)
    masks = generator.integers(0, 19, images.shape[:3], np.uint8)
    moved, floats, labels = np.empty_like(images), np.empty(images.shape, np.float32), np.empty_like(masks)
    print("geometry:", cost(lambda: move(images, moved, cv2.INTER_LINEAR)))
    print("colour:", cost(lambda: paint(moved)))
    print("floats:", cost(lambda: to_float(moved, floats)))
    print("geometry of masks:", cost(lambda: move(masks, labels, cv2.INTER_NEAREST)))
    drawn = draw(HOW, BATCH, args.size, tf.constant([args.seed, 1], tf.int64))
    step = tf.function(lambda batch: augment(batch | {"drawn": drawn}))
    photos, both = {"image": tf.constant(images)}, {"image": tf.constant(images), "mask": tf.constant(masks)}
    print("the step's, photos:", cost(lambda: step(photos)))
    print("the step's, photos and masks:", cost(lambda: step(both)))


if __name__ == "__main__":
    main()
