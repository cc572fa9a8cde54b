"""What a reader yields: one face of a dataset, as files on disk and what is known of it."""

import dataclasses
from pathlib import Path

FRAME_EYES = ((0.39, 0.48), (0.61, 0.48))
"""Where the eyes stand in CelebA-HQ's frame, (x, y) as fractions of the side: the person's right eye, then the left."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One face before it is read; whatever is None is unknown.

    `image_id` is unique in its dataset; `file` is the photo's name in the dataset's own tables (OpenFace's `filename`).
    `mask` is a PNG of class ids, `mask_parts` are (class id, PNG of that part) in painting order. `eyes` are the (x, y) pixels
    of the eyes at the image's left and right: with them the photo is brought to CelebA-HQ's frame.
    """

    image_id: str
    file: str
    photo: Path
    subject_id: str | None = None
    split: str | None = None
    mask: Path | None = None
    mask_parts: tuple[tuple[int, Path], ...] = ()
    label: int | None = None
    valence: float | None = None
    arousal: float | None = None
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None


class Rejected(ValueError):  # noqa: N818 - a rejected face is not a failure
    """A face that cannot be used: `reason` is one of a few words, `detail` says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type["Rejected"], tuple[str, str]]:
        return Rejected, (self.reason, self.detail)
