"""Datasets in their published layouts, tiny, from drawn faces: what the readers' tests convert."""

import csv
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from seghgan_tf.expressions import AUS
from seghgan_tf.regions import CLASSES
from tfrecords_tools.drawn_faces import draw_faces, sample_aus, sample_faces

SIDE = 64


@functools.cache
def drawn(count, side=SIDE):
    """Images (N, side, side, 3), masks (N, side, side) of our ids, action units (N, 17) in 0..5."""
    faces, aus = sample_faces(count, 5), sample_aus(count, 5)
    images, masks = draw_faces(faces, aus, side)
    return images, masks, aus


def save_jpeg(path, pixels, **options):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=90, **options)
    return path


def save_png(path, pixels, palette=False):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    image.save(path, "PNG")
    return path


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def write_aus(path, names, aus, units=AUS, columns=(), **fixed):
    """Write an OpenFace table with a filename column; OpenFace puts a space after its commas."""
    with Path(path).open("w", newline="") as stream:
        stream.write(
            ", ".join(("filename", "confidence", "success", *(f"{unit}_r" for unit in units), *columns)) + "\n"
        )
        for name, row in zip(names, aus, strict=True):
            values = [f"{row[AUS.index(unit)]:.2f}" for unit in units]
            stream.write(", ".join((name, fixed.get("confidence", "0.98"), fixed.get("success", "1"), *values)) + "\n")
    return Path(path)


def celebamask(root, count=4, side=SIDE):
    """The official layout: photos at twice the masks' size, one black and white picture a part."""
    images, masks, _ = drawn(count, side)
    for number in range(count):
        large = images[number].repeat(2, 0).repeat(2, 1)
        save_jpeg(root / "CelebA-HQ-img" / f"{number}.jpg", large)
        for part, name in enumerate(CLASSES[1:], 1):
            inside = masks[number] == part
            if inside.any():
                file = root / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_{name}.png"
                save_png(file, np.repeat(inside[..., None] * np.uint8(255), 3, -1))
    return root


def label_maps(root, count=4, order=None, side=SIDE):
    """Prepared label maps in our order or, with `order` (class names), in another one; as PNGs with a palette."""
    images, masks, _ = drawn(count, side)
    ids = np.array([order.index(name) for name in CLASSES], np.uint8) if order else np.arange(19, dtype=np.uint8)
    for number in range(count):
        save_jpeg(root / "images" / f"face{number}.jpg", images[number])
        save_png(root / "masks" / f"face{number}.png", ids[masks[number]], palette=True)
    return root


def london(root, people=4, side=270):
    """Photos of 270 pixels, a fifth of the published size, with landmarks in published pixels."""
    images = drawn(2 * people, side)[0]
    places = np.full((189, 2), 600.0)
    places[[0, 1, 54, 60, 87, 93]] = 1350 * np.array(
        [(0.376, 0.472), (0.624, 0.472), (0.5, 0.624), (0.5, 0.624), (0.392, 0.731), (0.608, 0.731)]
    )
    text = "189\n" + "\n".join(f"{x}\t{y}" for x, y in places) + "\n0\n"
    for person in range(people):
        for inside, ending, image in (("neutral_front", "03", 0), ("smiling_front", "08", 1)):
            file = save_jpeg(root / inside / f"{person + 1:03d}_{ending}.jpg", images[2 * person + image])
            file.with_suffix(".tem").write_text(text)
    rows = [("face_id", "face_age", "face_gender", "face_eth")]
    rows += [(f"{person + 1:03d}", "30", "female", "white") for person in range(people)]
    with (root / "london_info.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root


def rafd(
    root, people=("01", "02", "03"), emotions=("angry", "happy"), cameras=("090", "045"), gazes=("frontal", "left")
):
    images = iter(drawn(len(people) * len(emotions) * len(cameras) * len(gazes))[0])
    for person in people:
        for emotion in emotions:
            for camera in cameras:
                for gaze in gazes:
                    image = next(images)
                    tall = np.concatenate([image, image[: SIDE // 2]])
                    save_jpeg(root / f"Rafd{camera}_{person}_Caucasian_female_{emotion}_{gaze}.jpg", tall)
    return root


def landmarks_68(side):
    """68 places whose five lie where CelebA-HQ has them."""
    places = np.full((68, 2), 0.5)
    places[36:42], places[42:48] = (0.376, 0.472), (0.624, 0.472)
    places[30], places[48], places[54] = (0.5, 0.624), (0.392, 0.731), (0.608, 0.731)
    return places * side


def affectnet_2017(root, rows):
    """`rows`: (table, file, expression, valence, arousal); photos are made for each."""
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    places = ";".join(f"{value:.2f}" for value in landmarks_68(SIDE).ravel())
    tables = {"training.csv": [header], "validation.csv": [header]}
    images = drawn(len(rows))[0]
    for image, (table, file, expression, valence, arousal) in zip(images, rows, strict=True):
        save_jpeg(root / "Manually_Annotated_Images" / file, image)
        tables[table].append(f"{file},1,1,60,60,{places},{expression},{valence},{arousal}")
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def affectnet_2021(root, rows):
    """`rows`: (set, number, expression, valence, arousal)."""
    images = drawn(len(rows))[0]
    for image, (inside, number, expression, valence, arousal) in zip(images, rows, strict=True):
        save_jpeg(root / inside / "images" / f"{number}.jpg", image)
        notes = root / inside / "annotations"
        notes.mkdir(exist_ok=True)
        for part, value in (("exp", str(expression)), ("val", str(valence)), ("aro", str(arousal))):
            np.save(notes / f"{number}_{part}.npy", np.array(value))
        np.save(notes / f"{number}_lnd.npy", landmarks_68(SIDE).ravel())
    return root
