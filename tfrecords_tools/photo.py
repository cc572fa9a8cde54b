"""What readers yield: photos not yet opened, and entries that a data set cannot take, each with its reason."""

import dataclasses
import enum
import json
from typing import Any, NamedTuple

from seghgan_tf.files import readable


class Reason(enum.StrEnum):
    """Why a file or a row of annotations was rejected."""

    EMPTY = "empty_file"
    UNREADABLE = "unreadable_file"
    NO_FILE = "no_such_file"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated_image"
    TOO_LARGE = "too_many_pixels"
    TOO_SMALL = "too_small"
    COLORS = "unsupported_colors"
    ANIMATED = "animated_image"
    MASK_MISSING = "missing_mask"
    MASK_BROKEN = "broken_mask"
    MASK_SIZE = "wrong_mask_size"
    MASK_IDS = "wrong_mask_ids"
    ACTION_UNITS = "action_unit_out_of_range"
    NOT_A_NUMBER = "not_a_number"
    LABEL = "unknown_label"
    OUT_OF_RANGE = "out_of_range"
    ANNOTATION = "broken_annotation"
    NAME = "unknown_file_name"
    DUPLICATE = "duplicate_id"
    NO_FACE = "no_face_found"
    SEVERAL_FACES = "several_faces"
    LOOP = "symlink_loop"
    RAW = "unsupported_raw_file"
    TURNED = "turned_by_exif"
    SUBJECT = "no_subject"
    EXPRESSION = "no_expression"
    PARTNER = "no_partner"


class Reject(NamedTuple):
    """An entry that was left out: its file, the reason, and what exactly was found.

    With `excluded` it is whole but not wanted: a filter or the data set's own "no face" label; `reason` is then the name of that.
    `path` is where the file lies, empty for a row that has none.
    """

    file: str
    reason: str
    detail: str = ""
    excluded: bool = False
    path: str = ""


class Note(NamedTuple):
    """How many photos or rows a join with a side table had something, or nothing, for."""

    text: str
    number: int


LACKING = "landmarks: photos without them"
"""What is noted of photos of which a data set that has landmarks has none: where faces are aligned, mtcnn finds them."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo of a data set, not yet opened, with all that its annotations say.

    `name` is its path inside the data set, by which other tables know it. `mask` is a file of class ids in the order
    `mask_order` ("g_mask" or "bisenet"), or, for "parts", the common beginning of one file a part. `points` are the five
    landmarks x, y in the photo's pixels: the eye at the image's left, the other eye, the tip of the nose, the mouth's corner at the
    image's left, the other corner; `box` is where the face is said to lie: x, y, width, height. Photos of one
    subject in one `view` (camera, gaze) make pairs. `split` is None where the data set leaves it to us. Whatever is None is unknown.
    """

    image_id: str
    path: str
    name: str
    subject_id: str | None = None
    view: str | None = None
    split: str | None = None
    mask: str | None = None
    mask_order: str = "g_mask"
    aus: dict[str, float] | None = None
    label: int | None = None
    valence: float | None = None
    arousal: float | None = None
    points: tuple[float, ...] | None = None
    box: tuple[float, ...] | None = None

    def to_json(self) -> str:
        """Return the photo as one line of JSON; what is unknown is left out."""
        return json.dumps({key: value for key, value in vars(self).items() if value is not None})

    @classmethod
    def from_json(cls, text: str) -> "Photo":
        """Return the photo that `to_json` wrote."""
        fields = json.loads(text)
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**known)

    def reject(self, reason: Reason, detail: str) -> Reject:
        """Return this photo as a reject."""
        return Reject(readable(self.name), reason, detail, path=self.path)


LONGEST = 5000
"""Characters of a file's name or a detail that a report holds: longer than any path."""


def brief(text: str) -> str:
    """Return a text cut to what a report holds."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
