"""What the clients send: images, expressions and regions as the inputs of a signature, in batches."""

import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seghgan_tf import photos, saving
from seghgan_tf.regions import region_limits
from serving.client.talk import Served

Image = Any
"""A photo: file bytes (of any kind of picture), a PIL image, or an array (H, W, 3), uint8 or float32 in [-1, 1]."""


def is_photo(image: Image) -> bool:
    """Return whether an image is sent as a file: bytes and PIL images of any size are."""
    return isinstance(image, (bytes, bytearray)) or hasattr(image, "save")


def photo_bytes(image: Image) -> bytes:
    """Return the bytes sent for a photo: the file's own where every decoder reads them alike, else an upright PNG."""
    if isinstance(image, (bytes, bytearray)):
        return photos.read(bytes(image)).sent()
    return photos.to_png(photos.image_pixels(image))


def pixels(image: Image, size: int) -> np.ndarray:
    """Return float32 pixels (size, size, 3) in [-1, 1]; files and PIL images lose what lies outside their centre square."""
    if is_photo(image):
        upright = photos.image_pixels(image) if hasattr(image, "save") else photos.read(bytes(image)).pixels
        return photos.centre_square(upright, size)
    array = np.asarray(image)
    if array.shape != (size, size, 3) or array.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"`image` must be uint8 or float32 of shape ({size}, {size}, 3), a PIL image or file bytes. "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    return array if array.dtype == np.float32 else array.astype(np.float32) / 127.5 - 1.0


def analyze_request(image: Image, served: Served) -> tuple[str, dict[str, np.ndarray], list[str]]:
    """Return signature, inputs and the outputs that tell the expression in an image: of a photo, that of its largest face."""
    if is_photo(image) and "locate" in served.signatures:
        return "locate", {"image_bytes": np.array([photo_bytes(image)], object)}, ["expressions", "scores"]
    return "analyze", {"image": pixels(image, served.image_size)[None]}, ["expression"]


def analyzed(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the expression (N,) of what `analyze_request` asked for; ValueError where a photo shows no face."""
    if "expression" in outputs:
        return outputs["expression"][0]
    if outputs["scores"][0, 0] <= 0:
        raise ValueError("`image` must show a face, or be an array of the face's square. Received: a photo without")
    return outputs["expressions"][0, 0]


def expressions(expression: Any, count: int, size: int) -> np.ndarray:
    """Return the expression input (count, size) from one row for all or a row each."""
    rows = np.asarray(expression, np.float32)
    rows = np.tile(rows, (count, 1)) if rows.ndim == 1 else rows
    if rows.shape != (count, size):
        raise ValueError(
            f"`expression` must have {size} numbers, or a row of them per image. Received: shape {rows.shape}"
        )
    return rows


@dataclasses.dataclass(frozen=True)
class EditInputs:
    """An edit of images of one kind: the inputs of its signature and, from the outputs, images of that kind again."""

    images: Sequence[Image]
    expression: Any
    regions: Sequence[str] | None = None
    jpeg_quality: int = 0

    def request(self, served: Served) -> tuple[str, dict[str, np.ndarray], list[str]]:
        """Return signature, inputs and the output that is wanted; ValueError where they do not fit the model."""
        images, count = self.images, len(self.images)
        rows = expressions(self.expression, count, served.expression_size)
        asked = {"expression": rows, "regions": np.array([region_limits(self.regions)] * count, np.float32)}
        if is_photo(images[0]):
            encoded = np.empty(count, object)
            encoded[:] = [photo_bytes(image) for image in images]
            quality = np.full(count, self.jpeg_quality, np.int32)
            inputs = {"image_bytes": encoded, **asked, "jpeg_quality": quality}
            if "frames" in served.signatures["edit_bytes"].inputs:
                inputs["frames"] = np.zeros((count, 2, 3), np.float32)
            return "edit_bytes", inputs, ["edited_bytes"]
        arrays = [np.asarray(image) for image in images]
        if all(array.dtype == np.uint8 for array in arrays):
            side = served.image_size
            if any(array.shape != (side, side, 3) for array in arrays):
                raise ValueError(f"`image` must have shape ({side}, {side}, 3). Received: {arrays[0].shape}")
            return "serving_uint8", {"image": np.stack(arrays), **asked}, ["edited"]
        stacked = np.stack([pixels(array, served.image_size) for array in arrays])
        return "serving_default", {"image": stacked, **asked}, ["edited"]

    def results(self, outputs: Mapping[str, np.ndarray]) -> list[Any]:
        """Return the edited images in the kind of those that were sent; files with the mark of an edited picture."""
        (edited,) = outputs.values()
        return [_like(image, one) for image, one in zip(self.images, edited, strict=True)]


def _like(image: Image, edited: Any) -> Any:
    if not is_photo(image):
        return edited
    if not hasattr(image, "save"):
        return saving.with_mark(edited)
    from PIL import Image as Pillow

    return Pillow.open(io.BytesIO(edited)).convert("RGB")


def _kind(image: Image) -> str:
    if is_photo(image):
        return "photo"
    return "uint8" if np.asarray(image).dtype == np.uint8 else "float32"


def batches(images: Iterable[Image], size: int, served: Served) -> Iterator[list[Image]]:
    """Group images of one kind, at most `size` and never more bytes than a message may have."""
    if size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {size}")
    room = served.message_bytes - (1 << 20)
    batch: list[Image] = []
    used, kind = 0, ""
    for image in images:
        mine = _kind(image)
        image = photo_bytes(image) if isinstance(image, bytearray) else image
        takes = len(image) if isinstance(image, bytes) else served.image_size**2 * (3 if mine == "uint8" else 12)
        if batch and (len(batch) >= size or mine != kind or used + takes > room):
            yield batch
            batch, used = [], 0
        batch.append(image)
        used, kind = used + takes, mine
    if batch:
        yield batch
