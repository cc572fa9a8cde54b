"""Loading: folders of TFRecords as tf.data streams of batches, for training and evaluation."""

from typing import Any

import numpy as np
import tensorflow as tf

from seghgan_tf.data.augment import IMAGES, Augmentation, augment, to_float
from seghgan_tf.data.select import (
    PARSED_TOGETHER,
    Folders,
    Source,
    Survey,
    bucket_of,
    expression_source,
    folders_of,
    mask_source,
    read_records,
    survey,
)
from seghgan_tf.expressions import ExpressionSpace

SHUFFLE_BUFFER = 2048
"""Encoded records among which the next one is drawn; cached streams draw among all."""
MAX_REPEAT = 16
"""Most times that balanced sampling shows one example in an epoch."""


def load_expression_stream(
    folder: Folders,
    split: str,
    *,
    space: ExpressionSpace,
    image_size: int,
    batch_size: int,
    training: bool,
    seed: int = 0,
    augment: Augmentation | None = None,
    cache: bool = False,
    balanced: bool = False,
    deterministic: bool = False,
    drop_remainder: bool = False,
    workers: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Stream batches of images with their expressions.

    Yields `image` float32 (B, S, S, 3) in [-1, 1] and `expression` float32 (B, N) in the range of `space`; also
    `target_image` and `target_expression` where every folder holds drawn pairs and the space is of action units.
    Records that lack a label of the space are left out and counted in the log. Images of other sizes are cut to their
    central square and resized. Training repeats for ever in an order drawn from `seed`, in full batches; otherwise the
    split is read once. `augment` and `balanced` apply to training alone. `cache` keeps decoded images in memory as uint8. `balanced` shows
    each emotion, or each dominant action unit, about equally often. `deterministic` makes equal seeds give equal
    batches, at some cost of speed. `workers` bounds the threads that decode (0: tf.data chooses). With an `input_context`
    (`strategy.distribute_datasets_from_function`) each worker reads its own share and `batch_size` is over all replicas.
    Raises ValueError for folders that are missing, of another schema, all without the split or without the space.
    """
    source = expression_source(folder, split, space)
    found = survey(source)
    weights = _bucket_weights(found.buckets) if balanced and training else None
    return _stream(
        source, found, weights, image_size=image_size, batch_size=batch_size, training=training, seed=seed,
        augmentation=augment, cache=cache, deterministic=deterministic, drop_remainder=drop_remainder, workers=workers,
        input_context=input_context,
    )  # fmt: skip


def load_segmentation_stream(
    folder: Folders,
    split: str,
    *,
    image_size: int,
    batch_size: int,
    training: bool,
    seed: int = 0,
    augment: Augmentation | None = None,
    cache: bool = False,
    deterministic: bool = False,
    drop_remainder: bool = False,
    workers: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Stream batches of images with their masks.

    Yields `image` float32 (B, S, S, 3) in [-1, 1] and `mask` int32 (B, S, S) of class ids 0..18. Records without a mask are
    left out and counted in the log; masks are resized by nearest neighbour. Everything else is as in `load_expression_stream`.
    """
    source = mask_source(folder, split)
    return _stream(
        source, survey(source), None, image_size=image_size, batch_size=batch_size, training=training, seed=seed,
        augmentation=augment, cache=cache, deterministic=deterministic, drop_remainder=drop_remainder, workers=workers,
        input_context=input_context,
    )  # fmt: skip


def load_streams(
    expression: Folders,
    segmentation: Folders = (),
    split: str = "train",
    *,
    space: ExpressionSpace,
    image_size: int,
    batch_size: int,
    critic_steps: int = 1,
    training: bool = True,
    seed: int = 0,
    balanced: bool = False,
    **options: Any,
) -> tf.data.Dataset:
    """Zip the two streams that a training step takes: `{"expression": {...}, "segmentation": {...}}`.

    The expression batch holds `critic_steps` times `batch_size` examples, the segmentation batch `batch_size`. Each stream
    repeats on its own; in evaluation the zip ends with the shorter. Without `segmentation` folders the expression folders serve both.
    `options` are the arguments that both streams share: `augment`, `cache`, `deterministic`, `drop_remainder`, `workers`, `input_context`.
    Raises ValueError as the streams do.
    """
    shared = {"image_size": image_size, "training": training, **options}
    faces = load_expression_stream(
        expression, split, space=space, batch_size=critic_steps * batch_size, seed=seed, balanced=balanced, **shared
    )
    masks = load_segmentation_stream(
        folders_of(segmentation) or expression, split, batch_size=batch_size, seed=seed + 1, **shared
    )
    return tf.data.Dataset.zip({"expression": faces, "segmentation": masks})


def _bucket_weights(buckets: tuple[int, ...]) -> Any:
    """Return how often an example of each bucket is to be shown in an epoch, so that all buckets are shown alike."""
    counts = np.array(buckets, np.float64)
    even = counts.sum() / np.count_nonzero(counts)
    return np.minimum(even / np.maximum(counts, 1), MAX_REPEAT).astype(np.float32)


def _stream(
    source: Source,
    found: Survey,
    weights: Any,
    *,
    image_size: int,
    batch_size: int,
    training: bool,
    seed: int,
    augmentation: Augmentation | None,
    cache: bool,
    deterministic: bool,
    drop_remainder: bool,
    workers: int,
    input_context: tf.distribute.InputContext | None,
) -> tf.data.Dataset:
    share = (1, 0)
    if input_context is not None:
        share = (input_context.num_input_pipelines, input_context.input_pipeline_id)
        batch_size = input_context.get_per_replica_batch_size(batch_size)
    threads = workers or tf.data.AUTOTUNE

    def decode(examples: tf.data.Dataset) -> tf.data.Dataset:
        return examples.map(lambda example: _decode(example, image_size), num_parallel_calls=threads)

    records = read_records(source.files, share, seed if training else None, deterministic or not training)
    examples = records.batch(PARSED_TOGETHER).map(source.select, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    if cache:
        examples = decode(examples).cache()
    if weights is not None:
        examples = _rebalanced(examples, weights, seed)
    if training:
        examples = examples.shuffle(source.examples if cache else SHUFFLE_BUFFER, seed).repeat()
    if not cache:
        examples = decode(examples)
    batches = examples.batch(batch_size, drop_remainder=training or drop_remainder)
    batches = _as_floats(batches, augmentation if training else None, seed + 7919 * share[1])
    if not training and share == (1, 0) and found.complete:
        rest = found.usable % batch_size != 0 and not drop_remainder
        batches = batches.apply(tf.data.experimental.assert_cardinality(found.usable // batch_size + rest))
    options = tf.data.Options()
    options.deterministic = deterministic or not training
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def _as_floats(batches: tf.data.Dataset, augmentation: Augmentation | None, seed: int) -> tf.data.Dataset:
    if augmentation is None or augmentation == Augmentation():
        return batches.map(to_float, num_parallel_calls=tf.data.AUTOTUNE)
    numbered = tf.data.Dataset.zip(tf.data.Dataset.counter(), batches)
    return numbered.map(
        lambda step, batch: augment(batch, augmentation, tf.stack([tf.constant(seed, tf.int64), step])),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _rebalanced(examples: tf.data.Dataset, weights: Any, seed: int) -> tf.data.Dataset:
    """Repeat or leave out each example so that on average it appears as often as its bucket's weight says."""
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)

    def repeat(example: dict[str, Any], draw: Any) -> tf.data.Dataset:
        weight = tf.gather(tf.constant(weights), bucket_of(example["expression"]))
        times = tf.floor(weight + tf.cast(tf.cast(draw, tf.float64) / 2.0**32, tf.float32))
        return tf.data.Dataset.from_tensors(example).repeat(tf.cast(times, tf.int64))

    return tf.data.Dataset.zip(examples, draws).flat_map(repeat)


def _decode(example: dict[str, Any], image_size: int) -> dict[str, Any]:
    """Decode an example's images and mask to uint8 of the given size: `image` (S, S, 3), `mask` (S, S)."""
    decoded = dict(example)
    for key in IMAGES:
        if key in example:
            picture = tf.io.decode_image(example[key], channels=3, expand_animations=False)
            decoded[key] = _fitted(picture, image_size, "bilinear", 3)
    if "mask" in example:
        mask = tf.io.decode_png(example["mask"], channels=1)
        decoded["mask"] = _fitted(mask, image_size, "nearest", 1)[..., 0]
    return decoded


def _fitted(picture: Any, size: int, method: str, channels: int) -> Any:
    """Cut the central square out of a uint8 picture and resize it; a picture that fits is returned as it is."""
    picture = tf.ensure_shape(picture, (None, None, channels))
    height, width = tf.shape(picture)[0], tf.shape(picture)[1]

    def fit() -> Any:
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = picture[top : top + side, left : left + side]
        resized = tf.image.resize(square, [size, size], method=method, antialias=method != "nearest")
        return tf.cast(tf.round(tf.cast(resized, tf.float32)), tf.uint8)

    fitted = tf.cond((height == size) & (width == size), lambda: picture, fit)
    return tf.ensure_shape(fitted, (size, size, channels))
