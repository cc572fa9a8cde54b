"""From a photo to the faces of records: decoded, aligned or cut, its mask with it, encoded; or rejected with a reason."""

import dataclasses
import io
import re
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from seghgan_tf.data.schema import Face
from seghgan_tf.photos import MIN_SIDE
from seghgan_tf.regions import CLASSES
from tfrecords_tools import align, images
from tfrecords_tools.masks import Mask, read_mask
from tfrecords_tools.photo import Photo, Reason, Rejected

ALIGN = ("none", "landmarks", "mtcnn")
FACES = ("largest", "all", "error")


@dataclasses.dataclass(frozen=True)
class Picturing:
    """How photos become pictures.

    `size` is the side in pixels (None: as they are); `align` is "none" (the central square), "landmarks" (those the data set
    has, mtcnn where it has none) or "mtcnn"; `faces` says what to do where mtcnn finds several; `margin` widens the frame
    by this share on each side; photos of more than `max_pixels` are refused; `jpeg_quality` 1..100, 0 writes PNG. Raises
    ValueError where these cannot be.
    """

    size: int | None = None
    align: str = "none"
    faces: str = "largest"
    margin: float = 0.0
    max_pixels: int = 64_000_000
    jpeg_quality: int = 95

    @property
    def takes_several(self) -> bool:
        """Whether a photo may give several faces."""
        return self.align != "none" and self.faces == "all"

    def __post_init__(self) -> None:
        for name, known in (("align", ALIGN), ("faces", FACES)):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}. Received: {getattr(self, name)}")
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

    matrix: align.Matrix | None
    aligned: bool
    main: bool


def make_faces(
    photo: Photo, how: Picturing, source: str, on_mask: Callable[[Mask], None] = lambda mask: None
) -> list[Face]:
    """Return the faces of a photo, one but for `faces="all"`, as they go into records; further ones add #1, #2, ... to its id.

    A JPEG or PNG that already fits keeps its bytes. Labels, action units and mask belong to the main (largest) face; `on_mask` is
    called with the class ids (H, W) that its record holds. Raises Rejected.
    """
    picture = images.open_picture(images.read_file(photo.path), how.max_pixels)
    mask = None if photo.mask is None else read_mask(photo, picture.image.size, how.max_pixels)
    views = _views(photo, picture.image, how)
    viewed = [_viewed(picture.image, mask, view, how.size) for view in views]
    faces = [
        _face(photo, picture, *seen, view, number, how, source)
        for number, (view, seen) in enumerate(zip(views, viewed, strict=True))
    ]
    for _, own in viewed:
        if own is not None:
            on_mask(own)
    return faces


def _views(photo: Photo, image: Image.Image, how: Picturing) -> list[_View]:
    size = how.size
    if size is None or (how.align == "none" and image.size == (size, size)):
        return [_View(None, False, True)]
    if how.align == "none":
        return [_View(align.square(image.width, image.height, size), False, True)]
    known = photo.points if how.align == "landmarks" else None
    found = [known] if known is not None else _detected(image, how)
    views: list[_View] = []
    for points in found:
        try:
            matrix = align.similarity(points, size, how.margin)
        except ValueError as error:
            raise Rejected(Reason.ANNOTATION, "its landmarks lie in one place or nowhere") from error
        kept = align.fits(matrix, image.width, image.height, size)
        views.append(_View(None if kept else matrix, True, not views))
    return views


def _detected(image: Image.Image, how: Picturing) -> list[tuple[float, ...]]:
    faces = align.find_faces(image)
    if not faces:
        raise Rejected(Reason.NO_FACE, "mtcnn found no face")
    if len(faces) > 1 and how.faces == "error":
        raise Rejected(Reason.SEVERAL_FACES, f"mtcnn found {len(faces)} faces; --faces largest or all takes them")
    return [face.points for face in (faces if how.faces == "all" else faces[:1])]


def _viewed(image: Image.Image, mask: Mask | None, view: _View, size: int | None) -> tuple[Image.Image, Mask | None]:
    """Return the picture of one face and the mask that goes with it, which only the main face has."""
    mask = mask if view.main else None
    if view.matrix is None or size is None:
        return image, mask
    image = align.warp(image, view.matrix, size) if view.aligned else align.crop(image, size)
    return image, None if mask is None else align.warp_mask(mask, view.matrix, size)


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
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def default_align(dataset: str) -> str:
    """Return how the photos of a data set are brought to the frame of CelebA-HQ unless told otherwise."""
    return {"london": "landmarks", "affectnet": "landmarks", "rafd": "mtcnn"}.get(dataset, "none")
