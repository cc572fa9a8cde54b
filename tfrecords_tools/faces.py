"""From a photo to the faces of records: decoded, aligned or cut, its mask with it, encoded; or rejected with a reason."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from seghgan_tf.data.folder import Tally
from seghgan_tf.data.schema import Face
from seghgan_tf.frames import Matrix, crop, fits, similarity, square, warp, warp_mask
from seghgan_tf.photos import MIN_SIDE, Rejected
from seghgan_tf.regions import CLASSES
from tfrecords_tools import align, images
from tfrecords_tools.masks import Mask, read_mask
from tfrecords_tools.photo import Photo, Reason

ALIGN = ("none", "landmarks", "mtcnn")
FACES = ("largest", "all", "error")
DRAWN_ON = (None, "raw", "upright")
SLACK = 0.1
"""How far the box of a face may reach out of its picture, as a share of the picture's sides: people cut off have such boxes."""


@dataclasses.dataclass(frozen=True)
class Picturing:
    """How photos become pictures.

    `size` is the side in pixels (None: as they are); `align` is "none" (the central square), "landmarks" (those the data set
    has, mtcnn where it has none) or "mtcnn"; `faces` says what to do where mtcnn finds several; `margin` widens the frame
    by this share on each side; photos of more than `max_pixels` are refused; `jpeg_quality` 1..100, 0 writes PNG. `drawn_on` says
    whether masks and landmarks of photos that an EXIF tag turns were drawn on the "raw" raster or on the "upright" picture; None rejects
    such photos. Raises ValueError where these cannot be.
    """

    size: int | None = None
    align: str = "none"
    faces: str = "largest"
    margin: float = 0.0
    max_pixels: int = 64_000_000
    jpeg_quality: int = 95
    drawn_on: str | None = None

    @property
    def takes_several(self) -> bool:
        """Whether a photo may give several faces."""
        return self.align != "none" and self.faces == "all"

    def __post_init__(self) -> None:
        for name, known in (("align", ALIGN), ("faces", FACES), ("drawn_on", DRAWN_ON)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(str, known))}. Received: {getattr(self, name)}"
                )
        if self.align != "none" and self.size is None:
            raise ValueError("`size` must be given because aligned faces have one size. Received: none")
        if self.size is not None and not MIN_SIDE <= self.size <= 4096:
            raise ValueError(f"`size` must be {MIN_SIDE} to 4096 pixels. Received: {self.size}")
        if not -0.25 <= self.margin <= 1.0:
            raise ValueError(f"`margin` must be -0.25 to 1. Received: {self.margin:g}")
        if not 0 <= self.jpeg_quality <= 100:
            raise ValueError(f"`jpeg_quality` must be 0 (PNG) to 100. Received: {self.jpeg_quality}")
        if self.max_pixels < 1:
            raise ValueError(f"`max_pixels` must be at least 1. Received: {self.max_pixels}")


class _View(NamedTuple):
    """One face of a photo: the matrix into the picture (None: the photo as it is), and whether it is the photo's main face."""

    matrix: Matrix | None
    aligned: bool
    main: bool


def make_faces(photo: Photo, how: Picturing, source: str, tally: Tally) -> list[Face]:
    """Return the faces of a photo, one but for `faces="all"`, as they go into records; further ones add #1, #2, ... to its id.

    A JPEG or PNG that already fits keeps its bytes. Labels, action units and mask belong to the main (largest) face; the
    faces are counted in `tally`. Raises Rejected.
    """
    least = how.size if how.size and how.align == "none" else 0  # a face is sought, and turned, in all pixels
    picture = images.open_picture(images.read_photo(photo.path), how.max_pixels, least)
    photo, mask, notes = _upright(photo, picture, how)
    views = _views(photo, picture, how)
    viewed = [_viewed(picture, mask, view, how.size) for view in views]
    faces = [
        _face(photo, picture, *seen, view, number, how, source)
        for number, (view, seen) in enumerate(zip(views, viewed, strict=True))
    ]
    tally.notes.update(notes)
    for face, (_, own) in zip(faces, viewed, strict=True):
        tally.add(face)
        if own is not None:
            tally.add_mask(own)
    return faces


def _upright(photo: Photo, picture: images.Picture, how: Picturing) -> tuple[Photo, Mask | None, Counter[str]]:
    """Return a photo with its landmarks in upright pixels, its mask likewise, and what is to be noted. Raises Rejected."""
    notes: Counter[str] = Counter()
    size = picture.size
    drawn = photo.mask is not None or photo.points is not None or photo.box is not None
    turn = picture.turn if drawn else None
    if turn is not None and how.drawn_on is None:
        raise Rejected(
            Reason.TURNED,
            "its EXIF tag turns it; --drawn-on raw or upright says whether its mask and landmarks were drawn before or after that",
        )
    raw = turn if how.drawn_on == "raw" else None
    if photo.mask is None:
        mask = None
    elif raw is None:
        mask = read_mask(photo, size, how.max_pixels, notes)
    else:
        mask = raw.mask(read_mask(photo, raw.size(size), how.max_pixels, notes))
    if raw is not None and photo.points is not None:
        photo = dataclasses.replace(photo, points=raw.points(photo.points))
    if photo.box is not None:
        photo = dataclasses.replace(photo, box=_bounds(photo.box, raw))
    _check_places(photo, size)
    return photo, mask, notes


def _bounds(box: tuple[float, ...], raw: images.Turn | None) -> tuple[float, ...]:
    """Return a box x, y, width, height as its bounds left, top, right, bottom, upright."""
    x, y, width, height = box
    corners: tuple[float, ...] = (x, y, x + width, y + height)
    if raw is not None:
        corners = raw.points(corners)
    return (*np.minimum(corners[:2], corners[2:]).tolist(), *np.maximum(corners[:2], corners[2:]).tolist())


def _check_places(photo: Photo, size: tuple[int, int]) -> None:
    """Check that landmarks lie in the picture and, where a box says where the face is, in its box. Raises Rejected."""
    whole: tuple[float, ...] = (0.0, 0.0, *map(float, size))
    if photo.box is not None and not (_inside(whole, photo.box[:2], SLACK) and _inside(whole, photo.box[2:], SLACK)):
        raise Rejected(Reason.OUT_OF_RANGE, f"its box of the face reaches out of the picture of {size[0]} x {size[1]}")
    if photo.points is None:
        return
    places = np.reshape(photo.points, (-1, 2))
    if not all(_inside(whole, place) for place in places.tolist()):
        raise Rejected(Reason.OUT_OF_RANGE, f"its landmarks lie outside of the picture of {size[0]} x {size[1]}")
    if photo.box is not None and not _inside(photo.box, places.mean(0).tolist()):
        raise Rejected(Reason.ANNOTATION, "its landmarks lie outside of its box of the face")


def _inside(box: Sequence[float], place: Sequence[float], slack: float = 0.0) -> bool:
    """Tell whether a place x, y lies in a box of left, top, right, bottom, widened by a share of its sides."""
    x, y = slack * (box[2] - box[0]), slack * (box[3] - box[1])
    return box[0] - x <= place[0] <= box[2] + x and box[1] - y <= place[1] <= box[3] + y


def _views(photo: Photo, picture: images.Picture, how: Picturing) -> list[_View]:
    size = how.size
    if size is None or (how.align == "none" and picture.size == (size, size)):
        return [_View(None, False, True)]
    if how.align == "none":
        return [_View(square(*picture.size, size), False, True)]
    known = photo.points if how.align == "landmarks" else None
    found = [known] if known is not None else _detected(photo, picture.image, how)
    views: list[_View] = []
    for points in found:
        try:
            matrix = similarity(points, size, how.margin)
        except ValueError as error:
            raise Rejected(Reason.ANNOTATION, "its landmarks lie in one place or nowhere") from error
        kept = fits(matrix, *picture.size, size)
        views.append(_View(None if kept else matrix, True, not views))
    return views


def _detected(photo: Photo, image: Image.Image, how: Picturing) -> list[tuple[float, ...]]:
    """Return the landmarks of the faces that are found, in the photo's box of the face where it has one."""
    faces = [
        points
        for points in align.find_faces(image)
        if photo.box is None or _inside(photo.box, np.reshape(points, (-1, 2)).mean(0))
    ]
    if not faces:
        raise Rejected(Reason.NO_FACE, f"mtcnn found no face{' in its box' if photo.box else ''}")
    if len(faces) > 1 and how.faces == "error":
        raise Rejected(Reason.SEVERAL_FACES, f"mtcnn found {len(faces)} faces; --faces largest or all takes them")
    return faces if how.faces == "all" else faces[:1]


def _viewed(
    picture: images.Picture, mask: Mask | None, view: _View, size: int | None
) -> tuple[Image.Image, Mask | None]:
    """Return the picture of one face and the mask that goes with it, which only the main face has."""
    mask, image = mask if view.main else None, picture.image
    if view.matrix is None or size is None:
        return image, mask
    image = warp(image, view.matrix, size) if view.aligned else crop(image, size, picture.size)
    return image, None if mask is None else warp_mask(mask, view.matrix, size)


def _face(
    photo: Photo, picture: images.Picture, image: Image.Image, mask: Mask | None, view: _View, number: int, how: Picturing,
    source: str,
) -> Face:  # fmt: skip
    if view.matrix is None and picture.storable:
        data, image_format = picture.data, picture.image_format
    else:
        data, image_format = images.encode_image(image, how.jpeg_quality)
    return Face(
        image_id=f"{photo.image_id}#{number}" if number else photo.image_id,
        image=data, image_format=image_format, height=image.height, width=image.width, source=source,
        subject_id=photo.subject_id if view.main else None,
        mask=None if mask is None else encode_mask(mask),
        aus=photo.aus if view.main else None, label=photo.label if view.main else None,
        valence=photo.valence if view.main else None, arousal=photo.arousal if view.main else None,
        alignment=None if view.matrix is None else tuple(view.matrix.ravel().tolist()),
    )  # fmt: skip


def is_further(image_id: str) -> bool:
    """Tell whether an id has the form of a photo's second, third, ... face in `make_faces`.

    >>> is_further("crowd.jpg#2"), is_further("#2.jpg"), is_further("crowd#0")
    (True, False, False)
    """
    return re.search(r"#[1-9][0-9]*\Z", image_id) is not None


def encode_mask(mask: Mask) -> bytes:
    """Encode class ids as a grey PNG. Raises Rejected for ids that are no class."""
    if mask.max() >= len(CLASSES):
        raise Rejected(Reason.MASK_IDS, f"class ids are 0 to {len(CLASSES) - 1}; this has {mask.max()}")
    return images.encode_ids(mask)
