"""A photo's way inside the served graph: decode, find faces, cut a face's square, edit it at the photo's own size, encode."""

from typing import NamedTuple

import tensorflow as tf

from seghgan_tf.detector import Detector, Faces
from seghgan_tf.frames import solved
from seghgan_tf.photos import MAX_PIXELS, MIN_SIDE

FADE = 1 / 16
"""Width of the border of a face's square, as a share of its side, over which an edit fades to nothing."""

BAND = 1 << 18
"""Most pixels that are edited at once; only they are held as numbers larger than a byte."""

_AREAS = 1e-6, 1e6
"""How many pixels of the model a photo's pixel may become."""

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class Place(NamedTuple):
    """A face's place in a photo: `matrix` (2, 3) takes x, y of the photo to the square of side `size`, `back` the other way."""

    matrix: tf.Tensor
    back: tf.Tensor
    size: int


def _photo_shape(encoded: tf.Tensor) -> tf.Tensor:
    """Read (height, width) from a PNG's or JPEG's header; what takes it runs only where the checks hold."""
    is_png = tf.equal(tf.strings.substr(encoded, 0, 8), PNG_MAGIC)
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), JPEG_MAGIC)
    long_enough = tf.strings.length(encoded) > 32
    whole = tf.debugging.Assert((is_png | is_jpeg) & long_enough, ["`image_bytes` must be a PNG or JPEG file."])

    def png_shape() -> tf.Tensor:
        header = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.uint8), tf.int32)
        width, height = tf.unstack(tf.reduce_sum(tf.reshape(header, (2, 4)) * [1 << 24, 1 << 16, 1 << 8, 1], 1))
        return tf.stack([height, width])

    with tf.control_dependencies([whole]):
        shape = tf.cond(is_png, png_shape, lambda: tf.io.extract_jpeg_shape(encoded)[:2])
    height, width = tf.cast(shape[0], tf.int64), tf.cast(shape[1], tf.int64)
    small = tf.minimum(height, width) < MIN_SIDE
    fits = ~small & (height < 1 << 24) & (width < 1 << 24) & (height * width <= MAX_PIXELS)
    limits = f"at least {MIN_SIDE} px a side and at most {MAX_PIXELS} pixels"
    checked = tf.debugging.Assert(fits, [f"`image_bytes` must be a photo of {limits}. Received:", shape])
    with tf.control_dependencies([checked]):
        return tf.identity(shape)


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a PNG or JPEG file to uint8 (H, W, 3); refused by its header where it is too small or too large."""
    with tf.control_dependencies([_photo_shape(encoded)]):
        return tf.cond(
            tf.equal(tf.strings.substr(encoded, 0, 8), PNG_MAGIC),
            lambda: tf.io.decode_png(encoded, 3),
            lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        )


def encode(photo: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Encode uint8 (H, W, 3) as a JPEG of this quality, as a PNG for 0."""
    return tf.cond(
        quality > 0,
        lambda: tf.raw_ops.EncodeJpegVariableQuality(images=photo, quality=tf.clip_by_value(quality, 1, 100)),
        lambda: tf.io.encode_png(photo, compression=3),
    )


def frames_of(faces: Faces, size: int) -> tf.Tensor:
    """Return the matrices (N, 2, 3) that bring eyes and nose of faces to the frame, zeros where there is no face."""
    points = [tf.unstack(point, axis=-1) for point in tf.unstack(faces.points[:, :3], axis=1)]
    a, b, right, down = solved(points)
    frames = size * tf.stack([tf.stack([a, -b, right], -1), tf.stack([b, a, down], -1)], 1)
    area = (a * a + b * b) * size**2
    found = (faces.scores > 0) & (area > _AREAS[0]) & (area < _AREAS[1])
    return tf.where(found[:, None, None], frames, 0.0)


def found_faces(detector: Detector, photo: tf.Tensor, size: int) -> tuple[Faces, tf.Tensor]:
    """Find the faces of a photo, and the frames (N, 2, 3) of those that can be edited; the others are left out."""
    faces = detector(photo)
    frames = frames_of(faces, size)
    whole = tf.reduce_any(frames != 0.0, (1, 2))
    order = tf.argsort(tf.cast(~whole, tf.int32), stable=True)
    return Faces(
        *(tf.gather(tf.where(tf.reshape(whole, (-1, *[1] * (v.shape.rank - 1))), v, 0.0), order) for v in faces)
    ), (tf.gather(frames, order))


def largest_face(detector: Detector, photo: tf.Tensor, size: int) -> tf.Tensor:
    """Return the frame (2, 3) of the largest face of a photo; refused where there is none."""
    faces, frames = found_faces(detector, photo, size)
    found = tf.debugging.Assert(
        faces.scores[0] > 0, ["`image_bytes` must show a face, or `frames` must say where it is. Found: none"]
    )
    with tf.control_dependencies([found]):
        return tf.identity(frames[0])


def is_given(frame: tf.Tensor) -> tf.Tensor:
    """Tell whether a frame (2, 3) names a place: all zeros or NaN mean that the face is to be found."""
    return tf.reduce_any(frame != 0.0) & ~tf.reduce_any(tf.math.is_nan(frame))


def place(frame: tf.Tensor, photo: tf.Tensor, size: int) -> Place:
    """Turn a frame (2, 3) into a place in the photo; refused where it has no inverse or lies outside the photo."""
    (a, b, c), (d, e, f) = (tf.unstack(row) for row in tf.unstack(frame))
    area = a * e - b * d
    usable = tf.reduce_all(tf.math.is_finite(frame)) & (tf.abs(area) > _AREAS[0]) & (tf.abs(area) < _AREAS[1])
    checked = tf.debugging.Assert(
        usable, ["`frames` must be matrices that take the photo's pixels to the model's square. Received:", frame]
    )
    with tf.control_dependencies([checked]):
        area = tf.identity(area)
    back = tf.stack([[e, -b, b * f - c * e], [-d, a, c * d - a * f]]) / area
    found = Place(frame, back, size)
    top, left, bottom, right = _box(found, photo)
    inside = tf.debugging.Assert((top < bottom) & (left < right), ["`frames` must lie in the photo. Received:", frame])
    with tf.control_dependencies([inside]):
        return Place(tf.identity(frame), back, size)


def _box(where: Place, photo: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return top, left, bottom, right of the smallest upright box of the photo's pixels that holds a face's square."""
    side = float(where.size)
    corners = where.back @ tf.constant([[0.0, side, 0.0, side], [0.0, 0.0, side, side], [1.0] * 4])
    shape = tf.cast(tf.shape(photo)[:2], tf.float32)
    low = tf.clip_by_value(tf.floor(tf.reduce_min(corners, 1)) - 1.0, 0.0, shape[::-1])
    high = tf.clip_by_value(tf.math.ceil(tf.reduce_max(corners, 1)) + 1.0, 0.0, shape[::-1])
    left, top = tf.unstack(tf.cast(low, tf.int32))
    right, bottom = tf.unstack(tf.cast(high, tf.int32))
    return top, left, bottom, right


def square(photo: tf.Tensor, where: Place) -> tf.Tensor:
    """Cut a face's square out of a photo: float32 (S, S, 3) in [-1, 1]; beyond the photo lies its mirror image."""
    top, left, bottom, right = _box(where, photo)
    step = tf.sqrt(tf.abs(where.back[0, 0] * where.back[1, 1] - where.back[0, 1] * where.back[1, 0]))
    shrink = tf.maximum(1.0, step / 2.0)
    corner = tf.cast(tf.stack([top, left]), tf.float32)
    extent = tf.cast(tf.stack([bottom - top, right - left]), tf.float32)
    size = tf.maximum(tf.cast(tf.math.ceil(extent / shrink), tf.int32), 1)
    near = tf.raw_ops.ScaleAndTranslate(
        images=photo[None], size=size, scale=tf.fill([2], 1.0 / shrink), translation=-corner / shrink,
        kernel_type="triangle", antialias=True,
    )[0]  # fmt: skip
    times = tf.where(step > 1.01, 2, 1)  # so that pixels that are merged are all seen
    along = (tf.cast(tf.range(where.size * times), tf.float32) + 0.5) / tf.cast(times, tf.float32)
    x, y = _moved(where.back, along[None, :], along[:, None])
    x, y = (x - corner[1]) / shrink - 0.5, (y - corner[0]) / shrink - 0.5
    last = tf.cast(size - 1, tf.float32)
    sampled = _sampled(near, _mirrored(y, last[0]), _mirrored(x, last[1]))
    parts = tf.reshape(sampled, tf.stack([where.size, times, where.size, times, 3]))
    return tf.ensure_shape(tf.reduce_mean(parts, (1, 3)) / 127.5 - 1.0, (where.size, where.size, 3))


def edited(photo: tf.Tensor, where: Place, field: tf.Tensor) -> tf.Tensor:
    """Edit a photo, uint8 (H, W, 3), by a face's field (S, S, 6) grown over its square in the photo's own pixels.

    The edit fades to nothing at the square's border; every other pixel comes back bit-equal. Works on bands of rows.
    """
    top, left, bottom, right = _box(where, photo)
    rows = tf.maximum(1, BAND // tf.maximum(right - left, 1))
    flat = tf.reshape(photo, (-1, 3))
    count = (bottom - top + rows - 1) // rows

    def one(i: tf.Tensor, bands: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        start = top + i * rows
        stop = tf.minimum(start + rows, bottom)
        patch = _edited_band(photo, flat, where, field, (start, left, stop, right))
        band = tf.concat([photo[start:stop, :left], patch, photo[start:stop, right:]], 1)
        return i + 1, bands.write(i + 1, band)

    bands = tf.TensorArray(tf.uint8, count + 2, element_shape=(None, None, 3), infer_shape=False)
    bands = bands.write(0, photo[:top])
    _, bands = tf.while_loop(lambda i, _: i < count, one, (0, bands), parallel_iterations=1)
    return bands.write(count + 1, photo[bottom:]).concat()


def _edited_band(
    photo: tf.Tensor, flat: tf.Tensor, where: Place, field: tf.Tensor, box: tuple[tf.Tensor, ...]
) -> tf.Tensor:
    top, left, bottom, right = box
    side = float(where.size)
    rows = tf.cast(tf.range(top, bottom), tf.float32)[:, None]
    columns = tf.cast(tf.range(left, right), tf.float32)[None, :]
    u, v = _moved(where.matrix, columns + 0.5, rows + 0.5)
    depth = tf.minimum(tf.minimum(u, side - u), tf.minimum(v, side - v)) / (FADE * side)
    depth = tf.clip_by_value(depth, 0.0, 1.0)
    weight = (depth * depth * (3.0 - 2.0 * depth))[..., None]
    grown = _sampled(field, tf.clip_by_value(v - 0.5, 0.0, side - 1.0), tf.clip_by_value(u - 0.5, 0.0, side - 1.0))
    attention = 1.0 + weight * (grown[..., :1] - 1.0)
    down, across = tf.unstack(side * weight * grown[..., 1:3], axis=-1)
    turn = where.back[:, :2]
    shape = tf.shape(photo)
    y = tf.clip_by_value(rows + turn[1, 0] * across + turn[1, 1] * down, 0.0, tf.cast(shape[0] - 1, tf.float32))
    x = tf.clip_by_value(columns + turn[0, 0] * across + turn[0, 1] * down, 0.0, tf.cast(shape[1] - 1, tf.float32))
    kept = attention * _taken(flat, y, x, shape[0], shape[1])
    result = kept + 127.5 * (1.0 - attention + weight * grown[..., 3:])
    return tf.cast(tf.clip_by_value(tf.round(result), 0.0, 255.0), tf.uint8)


def _moved(matrix: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Take places x, y through a matrix (2, 3)."""
    return (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2], matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2])


def _mirrored(place: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Fold places beyond the first and last pixel back, the edge itself seen twice, at most once; then clip."""
    place = tf.abs(place + 0.5) - 0.5
    place = last + 0.5 - tf.abs(last + 0.5 - place)
    return tf.clip_by_value(place, 0.0, last)


def _sampled(values: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Sample (H, W, C) bilinearly at rows y and columns x, which lie inside: (h, w, C)."""
    shape = tf.shape(values)
    return _taken(tf.reshape(values, (-1, values.shape[-1])), y, x, shape[0], shape[1])


def _taken(flat: tf.Tensor, y: tf.Tensor, x: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Sample an image given as a list of its pixels (H * W, C), of any dtype; a whole place returns the pixel's very value."""
    above, before = tf.floor(y), tf.floor(x)
    down, right = (y - above)[..., None], (x - before)[..., None]
    row, column = tf.cast(above, tf.int32), tf.cast(before, tf.int32)
    below, beside = tf.minimum(row + 1, height - 1), tf.minimum(column + 1, width - 1)

    def at(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(flat, rows * width + columns), tf.float32)

    upper = at(row, column) * (1.0 - right) + at(row, beside) * right
    lower = at(below, column) * (1.0 - right) + at(below, beside) * right
    return upper * (1.0 - down) + lower * down
