"""Find faces and their eyes, nose and mouth in a picture: MTCNN (Zhang et al. 2016) as one TensorFlow graph."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

WEIGHTS = Path(__file__).parent / "checkpoints" / "mtcnn.npz"
"""The three networks' weights as float16, from the package mtcnn 1.0.0 (MIT; `mtcnn.json` beside it says more)."""

MAX_FACES = 16
"""Most faces that are found in one picture."""

SIDE, LEAST = 640, 20
"""Longest side in pixels at which pictures are searched, and the side of the smallest face that is found there."""

_STEP = 0.709
_CHANCES = (0.6, 0.7, 0.9)
_KEPT = (400, 64)


class Faces(NamedTuple):
    """Faces, largest first, in pixels of the picture they were found in, filled up with zeros to MAX_FACES.

    `boxes` (N, 4) are left, top, right, bottom; `scores` (N,) in 0..1; `points` (N, 5, 2) are x, y of the eye at the
    image's left, the other eye, the nose, the mouth's left and right corners. The middle of the first pixel is at 0.5.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    points: tf.Tensor


class Detector(tf.Module):
    """The three networks: proposals at all sizes, refined twice, the landmarks from the last.

    >>> faces = Detector()(tf.zeros((48, 64, 3), tf.uint8))
    >>> float(tf.reduce_max(faces.scores))
    0.0
    """

    def __init__(self) -> None:
        super().__init__(name="detector")
        with np.load(WEIGHTS) as saved:
            self.values = {
                name.replace("/", "_"): tf.Variable(saved[name].astype(np.float32), trainable=False) for name in saved
            }

    def __call__(self, picture: tf.Tensor) -> Faces:
        """Find faces in a picture (H, W, 3) of uint8 or float32 in 0..255, at least 16 px a side."""
        size = tf.cast(tf.shape(picture)[:2], tf.float32)
        scale = tf.minimum(1.0, SIDE / tf.reduce_max(size))
        small = tf.cast(tf.maximum(tf.round(size * scale), 12.0), tf.int32)
        image = (tf.image.resize(picture, small, antialias=True) - 127.5) / 128.0
        boxes = self._refined(image, self._proposals(image))
        boxes, scores, points = self._finished(image, boxes)
        order = tf.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), direction="DESCENDING")
        missing = MAX_FACES - tf.shape(order)[0]
        back = tf.tile(size[::-1] / tf.cast(small, tf.float32)[::-1], [2])

        def filled(values: tf.Tensor) -> tf.Tensor:
            values = tf.pad(tf.gather(values, order), [[0, missing]] + [[0, 0]] * (values.shape.rank - 1))
            return tf.ensure_shape(values, (MAX_FACES, *values.shape[1:]))

        found = filled(tf.ones_like(scores))
        return Faces(filled(boxes) * back, filled(scores), (filled(points) + 0.5 * found[:, None, None]) * back[:2])

    def _layer(self, name: str, inputs: tf.Tensor) -> tf.Tensor:
        kernel, bias = self.values[f"{name}_kernel"], self.values[f"{name}_bias"]
        return (tf.nn.conv2d(inputs, kernel, 1, "VALID") if kernel.shape.rank == 4 else inputs @ kernel) + bias

    def _block(self, net: str, layer: str, inputs: tf.Tensor) -> tf.Tensor:
        """Apply convolution or dense layer and its rectifier, which passes a learned share of what is below zero."""
        outputs = self._layer(f"{net}_{layer}", inputs)
        return tf.nn.relu(outputs) + self.values[f"{net}_prelu{layer[-1]}_alpha"] * tf.minimum(outputs, 0.0)

    def _proposals(self, image: tf.Tensor) -> tf.Tensor:
        """Return boxes (n, 4) where the smallest network sees a face, at all sizes."""
        size = tf.cast(tf.shape(image)[:2], tf.float32)

        def more(scale: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return scale * tf.reduce_min(size) >= 12.0

        def search(scale: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, ...]:
            small = tf.image.resize(image[None], tf.cast(tf.math.ceil(size * scale), tf.int32), antialias=True)
            values = tf.nn.max_pool2d(self._block("pnet", "conv1", small), 2, 2, "SAME")
            values = self._block("pnet", "conv3", self._block("pnet", "conv2", values))
            chance = tf.nn.softmax(self._layer("pnet_conv4-2", values))[0, ..., 1]
            places = tf.where(chance > _CHANCES[0])
            corner = tf.cast(places[:, ::-1], tf.float32) * 2.0 + 1.0
            offsets = tf.gather_nd(self._layer("pnet_conv4-1", values)[0], places)
            found = (tf.concat([corner, corner + 11.0], 1) + 11.0 * offsets) / scale
            sure = tf.gather_nd(chance, places)
            kept = tf.image.non_max_suppression(found, sure, _KEPT[0], 0.5)
            boxes = tf.concat([boxes, tf.gather(found, kept)], 0)
            return scale * _STEP, boxes, tf.concat([scores, tf.gather(sure, kept)], 0)

        start = (tf.constant(12.0 / LEAST), tf.zeros((0, 4)), tf.zeros((0,)))
        shapes = (tf.TensorShape(()), tf.TensorShape((None, 4)), tf.TensorShape((None,)))
        _, boxes, scores = tf.while_loop(more, search, start, shapes)
        return _squares(tf.gather(boxes, tf.image.non_max_suppression(boxes, scores, _KEPT[0], 0.7)))

    def _refined(self, image: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        """Return the boxes that the second network keeps, moved as it says."""
        values = tf.nn.max_pool2d(self._block("rnet", "conv1", _patches(image, boxes, 24)), 3, 2, "SAME")
        values = tf.nn.max_pool2d(self._block("rnet", "conv2", values), 3, 2, "VALID")
        values = _flat(self._block("rnet", "conv3", values), 576)
        values = self._block("rnet", "fc4", values)
        scores = tf.nn.softmax(self._layer("rnet_fc5-2", values))[:, 1]
        boxes = _moved(boxes, self._layer("rnet_fc5-1", values))
        kept = tf.image.non_max_suppression(boxes, scores, _KEPT[1], 0.7, _CHANCES[1])
        return _squares(tf.gather(boxes, kept))

    def _finished(self, image: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return boxes, scores and landmarks of the faces that the last network keeps."""
        values = tf.nn.max_pool2d(self._block("onet", "conv1", _patches(image, boxes, 48)), 3, 2, "SAME")
        values = tf.nn.max_pool2d(self._block("onet", "conv2", values), 3, 2, "VALID")
        values = tf.nn.max_pool2d(self._block("onet", "conv3", values), 2, 2, "SAME")
        values = _flat(self._block("onet", "conv4", values), 1152)
        values = self._block("onet", "fc5", values)
        scores = tf.nn.softmax(self._layer("onet_fc6-3", values))[:, 1]
        shares = tf.stack(tf.split(self._layer("onet_fc6-2", values), 2, 1), -1)
        points = boxes[:, None, :2] - 1.0 + shares * (boxes[:, None, 2:] - boxes[:, None, :2] + 1.0)
        boxes = _moved(boxes, self._layer("onet_fc6-1", values))
        kept = tf.image.non_max_suppression_overlaps(_overlaps(boxes), scores, MAX_FACES, 0.7, _CHANCES[2])
        return tf.gather(boxes, kept), tf.gather(scores, kept), tf.gather(points, kept)


def _flat(values: tf.Tensor, size: int) -> tf.Tensor:
    """Flatten (n, H, W, C) column by column, the order in which the networks were trained."""
    return tf.reshape(tf.transpose(values, (0, 2, 1, 3)), (-1, size))


def _squares(boxes: tf.Tensor) -> tf.Tensor:
    """Widen boxes to squares about their middles; where there is none, return an empty one, since a layer needs one."""
    boxes = tf.pad(boxes, [[0, tf.maximum(0, 1 - tf.shape(boxes)[0])], [0, 0]])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    half = tf.reduce_max(boxes[:, 2:] - boxes[:, :2], 1, keepdims=True) / 2.0
    return tf.concat([middle - half, middle + half], 1)


def _moved(boxes: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Move the sides of boxes by shares of their sizes."""
    return boxes + offsets * tf.tile(boxes[:, 2:] - boxes[:, :2] + 1.0, [1, 2])


def _patches(image: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    """Cut boxes (n, 4), n > 0, out of an image (H, W, 3) and bring them to `size` px; what lies outside is grey."""
    last = tf.cast(tf.shape(image)[:2], tf.float32)
    corners = tf.reverse(tf.reshape(boxes, (-1, 2, 2)), [2]) / last
    return tf.image.crop_and_resize(
        image[None], tf.reshape(corners, (-1, 4)), tf.zeros(tf.shape(boxes)[:1], tf.int32), (size, size)
    )


def _overlaps(boxes: tf.Tensor) -> tf.Tensor:
    """Return how far each two boxes lie in one another, as shares of the smaller one (n, n)."""
    low = tf.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = tf.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = tf.reduce_prod(tf.maximum(high - low, 0.0), -1)
    area = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], -1)
    return both / tf.maximum(tf.minimum(area[:, None], area[None, :]), 1e-6)
