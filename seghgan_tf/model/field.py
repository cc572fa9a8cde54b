"""Edit fields: per pixel how much of the photo stays, where it comes from, and what is painted over it.

A field (B, H, W, 6) holds the attention (1 keeps the photo), the flow (y, x, in shares of the image's height and width:
where the pixel comes from) and the paint (3 channels, the colour already weighted by 1 - attention). It has no
resolution: grown bilinearly, the same field edits the photo at its own size.
"""

import tensorflow as tf

REACH = 0.15
"""The largest shift, as a share of the side."""

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The field of a pixel that stays as it is."""


def pack(attention: tf.Tensor, flow: tf.Tensor | None, color: tf.Tensor) -> tf.Tensor:
    """Join a generator's heads into a field (B, H, W, 6); without a flow no pixel moves, as in GANimation.

    Shapes: attention (B, H, W, 1) in 0..1, flow (B, H, W, 2), of which 1 is `REACH` and more is cut off, color (B, H, W, 3) in -1..1.
    """
    flow = tf.zeros_like(color[..., :2]) if flow is None else REACH * tf.clip_by_value(flow, -1.0, 1.0)
    return tf.concat([attention, flow, (1.0 - attention) * color], -1)


def warp(image: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
    """Sample (B, H, W, C) bilinearly at each pixel plus its flow (B, H, W, 2); beyond the border lies the border's pixel.

    A zero flow returns the image bit-equal.

    >>> picture = tf.reshape(tf.range(4.0), (1, 2, 2, 1))
    >>> warp(picture, tf.constant([0.0, 0.5]) * tf.ones((1, 2, 2, 1)))[0, :, :, 0].numpy().tolist()
    [[1.0, 1.0], [3.0, 3.0]]
    """
    shape = tf.shape(image)
    height, width = shape[1], shape[2]
    last_y, last_x = tf.cast(height - 1, tf.float32), tf.cast(width - 1, tf.float32)
    y = tf.range(last_y + 1.0)[None, :, None] + (last_y + 1.0) * flow[..., 0]
    x = tf.range(last_x + 1.0)[None, None, :] + (last_x + 1.0) * flow[..., 1]
    y, x = tf.clip_by_value(y, 0.0, last_y), tf.clip_by_value(x, 0.0, last_x)
    above, left = tf.floor(y), tf.floor(x)
    down, right = (y - above)[..., None], (x - left)[..., None]
    row, column = tf.cast(above, tf.int32), tf.cast(left, tf.int32)
    below, beside = tf.minimum(row + 1, height - 1), tf.minimum(column + 1, width - 1)
    pixels = tf.reshape(image, (shape[0], height * width, image.shape[-1]))

    def at(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        return tf.gather(pixels, rows * width + columns, batch_dims=1)

    upper = at(row, column) * (1.0 - right) + at(row, beside) * right
    lower = at(below, column) * (1.0 - right) + at(below, beside) * right
    return upper * (1.0 - down) + lower * down


def grow(field: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """Bring a field to another size, bilinearly; where it is the identity all around, it stays exactly that."""
    return tf.image.resize(field, (height, width))


def apply_field(image: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
    """Edit images (B, H, W, 3) in [-1, 1] by fields (B, H, W, 6) of their size: attention * warp(image, flow) + paint.

    Where the field is the identity the pixels come back bit-equal.

    >>> face = tf.random.uniform((1, 8, 8, 3))
    >>> bool(tf.reduce_all(apply_field(face, tf.ones((1, 8, 8, 1)) * IDENTITY) == face))
    True
    """
    return field[..., :1] * warp(image, field[..., 1:3]) + field[..., 3:]


def limit(field: tf.Tensor, reach: tf.Tensor) -> tf.Tensor:
    """Scale a field towards the identity by `reach` (B, H, W, 1): 1 leaves it, 0 makes it exactly the identity."""
    identity = tf.constant(IDENTITY, field.dtype)
    return tf.where(reach > 0, identity + reach * (field - identity), identity)
