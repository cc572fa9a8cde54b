"""Face Research Lab London Set: frontal photos of the same people, neutral and smiling.

Layout (DeBruine and Jones 2017, doi 10.6084/m9.figshare.5047666): `neutral_front/NNN_03.jpg`, `smiling_front/NNN_08.jpg`, landmarks
`neutral_front/NNN_03.tem` in pixels of the 1350 px originals. The first two landmarks are the pupils. A smiling photo without
landmarks of its own takes those of the same person's neutral one: camera and seat are the same, the head may have moved by a few pixels.
"""

from collections.abc import Iterator
from pathlib import Path

from tfrecords_tools.item import Item

LANDMARK_SIDE = 1350
EXPRESSIONS = {"neutral_front": ("_03", 0), "smiling_front": ("_08", 1)}
"""Folder to the photos' ending and the index of the emotion (neutral, happy)."""


def read(folder: Path) -> Iterator[Item]:
    """Yield the photos of `folder`, neutral ones first.

    Raises ValueError where the folder has none.
    """
    if not (folder / "neutral_front").is_dir():
        raise ValueError(f"`source` must hold neutral_front and smiling_front. Received: {folder}")
    for name, (ending, label) in EXPRESSIONS.items():
        for photo in sorted((folder / name).glob(f"*{ending}.jpg")):
            subject = photo.stem.removesuffix(ending)
            own, neutral = photo.with_suffix(".tem"), folder / "neutral_front" / f"{subject}_03.tem"
            landmarks = own if own.is_file() else neutral
            eyes = read_pupils(landmarks) if landmarks.is_file() else None
            yield Item(
                f"london/{photo.stem}", f"{name}/{photo.name}", photo, f"london/{subject}", label=label, eyes=eyes
            )


def read_pupils(path: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Read the two pupils of a `.tem` file, as (x, y) fractions of the photo's side times 1: multiply by the side.

    Raises ValueError for a file of another form.
    """
    lines = path.read_text().split("\n")
    try:
        (ax, ay), (bx, by) = (map(float, line.split()) for line in lines[1:3])
    except ValueError as error:
        raise ValueError(f"`{path}` must be a .tem file: a count, then `x y` lines. Received: {lines[:3]}") from error
    return (ax / LANDMARK_SIDE, ay / LANDMARK_SIDE), (bx / LANDMARK_SIDE, by / LANDMARK_SIDE)
