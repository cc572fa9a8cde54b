"""Draw faces: layers from back to front, light, then the camera."""

from types import SimpleNamespace

import numpy as np

from seghgan_tf.expressions import AUS
from tfrecords_tools.drawn_faces import features, head, relief
from tfrecords_tools.drawn_faces.canvas import WHOLE, Canvas, inside, linear
from tfrecords_tools.drawn_faces.identity import HAIR_STYLES, Faces
from tfrecords_tools.drawn_faces.muscles import contract


def draw_faces(faces: Faces, aus: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Draw each face at its action units.

    `aus` is (N, 17) in 0..5, in the order of `seghgan_tf.expressions.AUS`. Returns images uint8 (N, size, size, 3) and masks
    of class ids uint8 (N, size, size). The same faces at other `aus` differ in nothing but the expression.
    Raises ValueError where `aus` has another shape or range, or `size` is below 16.

    >>> from tfrecords_tools.drawn_faces import sample_faces
    >>> images, masks = draw_faces(sample_faces(2, seed=0), np.zeros((2, 17)))
    >>> images.shape, masks.shape
    ((2, 64, 64, 3), (2, 64, 64))
    """
    aus = np.asarray(aus, np.float32)
    if aus.shape != (len(faces), len(AUS)):
        raise ValueError(f"`aus` must have shape {(len(faces), len(AUS))}: a row for each face. Received: {aus.shape}")
    if not np.all((aus >= 0) & (aus <= 5)):
        raise ValueError(f"`aus` must lie in 0..5. Received: values from {aus.min()} to {aus.max()}")
    if size < 16:
        raise ValueError(f"`size` must be at least 16. Received: {size}")
    images = np.empty((len(faces), size, size, 3), np.uint8)
    masks = np.empty((len(faces), size, size), np.uint8)
    names, columns = vars(faces).keys(), vars(faces).values()
    for i, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        face = SimpleNamespace(**dict(zip(names, row, strict=True)))
        images[i], masks[i] = _draw(face, aus[i], size)
    return images, masks


def _draw(face: SimpleNamespace, aus: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    fine = 2 if size < 256 else 1
    canvas = Canvas(face, size * fine)
    g = contract(face, aus)
    head.background(canvas)
    style, strands, field = head.hair_shape(canvas)
    shape = HAIR_STYLES[face.hair_style]
    if shape == "bun" and not face.hat:
        head.bun(canvas, strands)
    if style.end > 0.1:
        head.hair_layer(canvas, inside(field), strands, 0.45)
    head.neck(canvas, g)
    head.cloth(canvas)
    head.ears(canvas)
    _face(canvas, g, shape, (style, strands, field))
    if face.glasses:
        head.glasses(canvas, g)
    if face.hat:
        head.hat(canvas)
    head.jewels(canvas)
    return _photograph(face, canvas.lit(), size), _majority(canvas.kind) if fine == 2 else canvas.kind


def _face(canvas: Canvas, g: SimpleNamespace, shape: str, hair: tuple[SimpleNamespace, np.ndarray, np.ndarray]) -> None:
    """Paint the skin, the features and the hair before them."""
    face = canvas.face
    field = head.outline(canvas, g)
    cover = inside(field)
    canvas.paint(WHOLE, cover, linear(face.skin), "skin", gloss=0.16, flesh=1.0, slope=(0.0, 0.0), shade=1.0)
    canvas.skin = cover
    slope = relief.sculpt(canvas, g)
    canvas.dx += cover * (slope[0] - canvas.dx)
    canvas.dy += cover * (slope[1] - canvas.dy)
    relief.complexion(canvas, cover, g)
    features.beard(canvas, cover, g)
    features.nose(canvas, g)
    features.mouth(canvas, g)
    for side in (-1, 1):
        features.eye(canvas, g, side)
        features.brow(canvas, g, side)
    if shape != "bald":
        head.hair_front(canvas, *hair, field)


def _photograph(face: SimpleNamespace, light: np.ndarray, size: int) -> np.ndarray:
    """Turn linear light (3, S, S) into 8 bits: fewer pixels, gamma, blur and noise; the same for the same person."""
    if light.shape[1] != size:
        light = (light[:, ::2, ::2] + light[:, 1::2, ::2] + light[:, ::2, 1::2] + light[:, 1::2, 1::2]) * 0.25
    light = np.sqrt(np.clip(1.18 * light / (1 + 0.26 * light), 0, 1))
    side = face.blur / 4
    light[:, 1:-1] = light[:, 1:-1] * (1 - 2 * side) + side * (light[:, 2:] + light[:, :-2])
    light[:, :, 1:-1] = light[:, :, 1:-1] * (1 - 2 * side) + side * (light[:, :, 2:] + light[:, :, :-2])
    grain = np.random.default_rng(int(face.seed)).standard_normal((3, size, size), np.float32)
    light += face.noise * grain
    return (np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)


def _majority(kind: np.ndarray) -> np.ndarray:
    """Halve a class map: each pixel takes the most frequent of its four classes."""
    a, b, c, d = kind[::2, ::2], kind[::2, 1::2], kind[1::2, ::2], kind[1::2, 1::2]
    return np.where((b == c) | (b == d), b, np.where(c == d, c, a))
