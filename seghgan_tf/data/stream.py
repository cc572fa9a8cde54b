"""Loading: folders of TFRecords as tf.data streams of batches, for training and evaluation."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.data.augment import IMAGES, draw, to_float
from seghgan_tf.data.select import (
    PARSED_TOGETHER,
    Folders,
    Source,
    bucket_of,
    expression_source,
    folders_of,
    mask_source,
    read_records,
    survey,
    usable_examples,
)
from seghgan_tf.expressions import ExpressionSpace

SHUFFLE_BUFFER = 2048
"""Encoded records among which the next one is drawn; cached streams draw among all."""
MAX_REPEAT = 16
"""Most times that balanced sampling shows one example in an epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batching:
    """How a split becomes batches.

    Images are cut to their central square and resized to `image_size`. Training repeats for ever in an order drawn from `seed`, in
    full batches; otherwise the split is read once. `augment` and `balanced` (each emotion, or each dominant action unit, about equally
    often) apply to training alone. `cache` keeps decoded images of training in memory as uint8. `deterministic` makes equal seeds give equal
    batches, at some cost of speed. `workers` bounds the threads that read and decode (0: as many as the machine has). With an `input_context`
    (`strategy.distribute_datasets_from_function`) each worker reads its own share and `batch_size` is over all replicas. With
    `people` batches also hold `subject` (B,), who is in each image, empty where unknown.
    Training goes on as it would after `start` batches: exactly where the examples are counted and one process reads them all,
    elsewhere from the start of another epoch.
    """

    image_size: int
    batch_size: int
    training: bool = False
    seed: int = 0
    start: int = 0
    augment: AugmentConfig | None = None
    balanced: bool = False
    cache: bool = False
    deterministic: bool = False
    workers: int = 0
    input_context: tf.distribute.InputContext | None = None
    people: bool = False

    @property
    def share(self) -> tuple[int, int]:
        """How many read the data together, and which of them this is."""
        context = self.input_context
        return (1, 0) if context is None else (context.num_input_pipelines, context.input_pipeline_id)


def load_expression_stream(folder: Folders, split: str, space: ExpressionSpace, how: Batching) -> tf.data.Dataset:
    """Stream batches of images with their expressions.

    Yields `image` float32 (B, S, S, 3) in [-1, 1] and `expression` float32 (B, N) in the range of `space`; also
    `target_image` and `target_expression` where every folder holds true pairs and the space is of action units. Images of training are
    uint8, with what is `drawn` to change them beside: `seghgan_tf.data.augment.augment` makes floats of them, as a training step does.
    Records that lack a label of the space are left out and counted in the log. The records are read beforehand only to balance
    them, or where `dataset.json` does not count what is needed.
    Raises ValueError for folders that are missing, of another schema, all without the split or without the space.
    """
    source = expression_source(folder, split, space)
    if not (how.balanced and how.training):
        return _stream(source, usable_examples(source), None, how)
    return _stream(source, None, _bucket_weights(survey(source).buckets), how)


def load_segmentation_stream(folder: Folders, split: str, how: Batching) -> tf.data.Dataset:
    """Stream batches of images with their masks.

    Yields `image` float32 (B, S, S, 3) in [-1, 1] and `mask` int32 (B, S, S) of class ids 0..18, both uint8 for training. Records without a mask are
    left out and counted in the log; masks are resized by nearest neighbour. Everything else is as in `load_expression_stream`.
    """
    source = mask_source(folder, split)
    return _stream(source, usable_examples(source), None, how)


def load_streams(
    expression: Folders, segmentation: Folders, split: str, space: ExpressionSpace, how: Batching, critic_steps: int = 1
) -> dict[str, tf.data.Dataset]:  # fmt: skip
    """Return the two streams that a training step takes zipped: "expression" and "segmentation".

    The expression batch holds `critic_steps` times as many examples as `how` says, the segmentation batch just these. Each stream
    repeats on its own. Without `segmentation` folders the expression folders serve both; without `expression` folders there is no
    such stream. Raises ValueError as the streams do.
    """
    masks = dataclasses.replace(how, seed=how.seed + 1)
    faces = dataclasses.replace(how, batch_size=critic_steps * how.batch_size)
    found = {"segmentation": load_segmentation_stream(folders_of(segmentation) or expression, split, masks)}
    if folders_of(expression):
        found["expression"] = load_expression_stream(expression, split, space, faces)
    return found


def _bucket_weights(buckets: tuple[int, ...]) -> Any:
    """Return how often an example of each bucket is to be shown in an epoch, so that all buckets are shown alike."""
    counts = np.array(buckets, np.float64)
    even = counts.sum() / np.count_nonzero(counts)
    return np.minimum(even / np.maximum(counts, 1), MAX_REPEAT).astype(np.float32)


@tf.autograph.experimental.do_not_convert  # nothing in it branches on tensors, and to look for that takes a second
def _stream(source: Source, usable: int | None, weights: Any, how: Batching) -> tf.data.Dataset:
    batch_size = how.batch_size
    if how.input_context is not None:
        batch_size = how.input_context.get_per_replica_batch_size(batch_size)
    training, deterministic = how.training, how.deterministic or not how.training
    cache = how.cache and training

    def decode(batches: tf.data.Dataset) -> tf.data.Dataset:
        fits = source.side == how.image_size
        return batches.map(
            lambda examples: _decode(examples, how.image_size, fits), num_parallel_calls=tf.data.AUTOTUNE
        )

    def select(records: Any) -> dict[str, Any]:
        return {key: values for key, values in source.select(records).items() if how.people or key != "subject"}

    def read(seed: Any) -> tf.data.Dataset:
        records = read_records(source.files, how.share, seed, deterministic)
        examples = records.batch(PARSED_TOGETHER).map(select, num_parallel_calls=tf.data.AUTOTUNE)
        return decode(examples).unbatch().cache() if cache else examples.unbatch()

    kept = read(None) if cache or not training else None

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Of this graph alone: the order follows from `seed`, whatever the process's own seed is.
        tf.compat.v1.set_random_seed(1)
        seed = how.seed + number
        examples = read(seed) if kept is None else kept
        if weights is not None:
            examples = _rebalanced(examples, weights, seed)
        # One place more than there are examples, so that the cache is read to its end, which TensorFlow warns of otherwise.
        return examples.shuffle(source.examples + 1 if cache else SHUFFLE_BUFFER, seed)

    if training:
        whole = usable if how.share == (1, 0) else None
        first, taken = (how.start, 0) if whole is None else divmod(how.start * batch_size, whole)
        examples = tf.data.Dataset.counter(first).flat_map(epoch).skip(taken)
    else:
        examples = kept
    batches = examples.batch(batch_size, drop_remainder=training)
    batches = _finished(batches if cache else decode(batches), how, batch_size)
    if not training and how.share == (1, 0) and usable is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(-(-usable // batch_size)))
    options = tf.data.Options()
    options.deterministic = deterministic
    if how.workers:
        options.threading.private_threadpool_size = how.workers
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def _finished(batches: tf.data.Dataset, how: Batching, batch_size: int) -> tf.data.Dataset:
    """Make floats for evaluation; training takes bytes, with what is drawn to change them beside."""
    if not how.training:
        return batches.map(to_float, num_parallel_calls=tf.data.AUTOTUNE)
    if how.augment is None or not how.augment.changes:
        return batches
    augmentation, seed = how.augment, tf.constant(how.seed + 7919 * how.share[1], tf.int64)

    def with_drawn(step: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return batch | {"drawn": draw(augmentation, batch_size, how.image_size, tf.stack([seed, step]))}

    return tf.data.Dataset.zip(tf.data.Dataset.counter(how.start), batches).map(with_drawn)


def _rebalanced(examples: tf.data.Dataset, weights: Any, seed: Any) -> tf.data.Dataset:
    """Repeat or leave out each example so that on average it appears as often as its bucket's weight says."""
    draws = tf.data.Dataset.random(seed)

    def repeat(example: dict[str, Any], draw: Any) -> tf.data.Dataset:
        weight = tf.gather(tf.constant(weights), bucket_of(example["expression"]))
        times = tf.floor(weight + tf.cast(tf.cast(draw, tf.float64) / 2.0**32, tf.float32))
        return tf.data.Dataset.from_tensors(example).repeat(tf.cast(times, tf.int64))

    return tf.data.Dataset.zip(examples, draws).flat_map(repeat)


def _decode(examples: dict[str, Any], image_size: int, fits: bool) -> dict[str, Any]:
    """Decode the images and masks of a batch to uint8 of the given size: `image` (B, S, S, 3), `mask` (B, S, S).

    Together, since to gather pictures that were decoded one by one costs a tenth of the time. Where all are known to have that size
    nothing looks at each, which costs an eighth, and full batches need no loop.
    """

    def sized(picture: Any, method: str, channels: int) -> Any:
        picture = picture if fits else _fitted(picture, image_size, method, channels)
        return tf.ensure_shape(picture, (image_size, image_size, channels))

    def image(encoded: Any) -> Any:
        return sized(tf.io.decode_image(encoded, channels=3, expand_animations=False), "bilinear", 3)

    def mask(encoded: Any) -> Any:
        return sized(tf.io.decode_png(encoded, channels=1), "nearest", 1)

    def each(decode: Any, encoded: Any, channels: int) -> Any:
        if fits and encoded.shape[0] is not None:
            return tf.stack([decode(one) for one in tf.unstack(encoded)])
        picture = tf.TensorSpec((image_size, image_size, channels), tf.uint8)
        return tf.map_fn(decode, encoded, parallel_iterations=1, fn_output_signature=picture)

    decoded = {key: each(image, examples[key], 3) for key in IMAGES if key in examples}
    if "mask" in examples:
        decoded["mask"] = tf.squeeze(each(mask, examples["mask"], 1), axis=-1)
    return examples | decoded


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

    return tf.cond((height == size) & (width == size), lambda: picture, fit)
