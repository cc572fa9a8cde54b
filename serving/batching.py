"""Dynamic batching by TensorFlow's own batch operation, the engine that TensorFlow Serving uses.

`tf.nondifferentiable_batch_function` is the public face of this operation. It names the operation's resource after the
name scope, so every signature of every version either keeps its threads for ever or shares one queue with another
model. The raw operation has separate names for the thread pool and for the queue; that is all it is used for here.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CONFIG = Path(__file__).with_name("config") / "batching_parameters.pbtxt"


class Batching(NamedTuple):
    """How requests are put together; the names and meanings are those of TensorFlow Serving's batching file."""

    max_batch_size: int = 8
    batch_timeout_micros: int = 2000
    max_enqueued_batches: int = 2
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = (1, 2, 4, 8)


def read_batching(path: Path | str = CONFIG) -> Batching:
    """Read a `batching_parameters.pbtxt`; ValueError where it is not one or its numbers contradict each other.

    Where the file leaves `num_batch_threads` out, it is the number of cores, and `max_enqueued_batches` follows it.
    """
    from google.protobuf import text_format

    from serving import messages

    try:
        parsed = text_format.Parse(Path(path).read_text(), messages.BatchingParameters())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`batching_parameters_file` must hold BatchingParameters ({error}). Received: {path}"
        ) from error
    if parsed.pad_variable_length_inputs:
        raise ValueError("`pad_variable_length_inputs` must be false because images have one size. Received: true")

    def value(name: str, default: int) -> int:
        return int(getattr(parsed, name).value) if parsed.HasField(name) else default

    threads = value("num_batch_threads", os.cpu_count() or 1)
    largest = value("max_batch_size", Batching().max_batch_size)
    sizes = tuple(parsed.allowed_batch_sizes) or (largest,)
    batching = Batching(
        largest, value("batch_timeout_micros", 2000), value("max_enqueued_batches", threads), threads, sizes
    )
    if min(batching.max_batch_size, threads, batching.max_enqueued_batches) < 1 or batching.batch_timeout_micros < 0:
        raise ValueError(f"Batching parameters must be positive. Received: {batching} in {path}")
    if sorted(set(sizes)) != list(sizes) or sizes[-1] != largest or sizes[0] < 1:
        raise ValueError(
            f"`allowed_batch_sizes` must grow and end with max_batch_size ({largest}). Received: {list(sizes)} in {path}"
        )
    return batching


class Batched(NamedTuple):
    """`run` is called with tensors by name; `sizes` counts the batches run by their size."""

    run: Callable[..., dict[str, Any]]
    sizes: Callable[[], dict[int, int]]
    body: Any
    """The function that the batch operation names, kept alive."""


def batched(function: Any, queue: str, batching: Batching) -> Batched:
    """Return a function like the signature `function` whose simultaneous calls run as one batch.

    `queue` must be another one for each signature of each loaded version, because calls of one queue are mixed.
    """
    import tensorflow as tf

    inputs = {
        name: function.structured_input_signature[1][name] for name in sorted(function.structured_input_signature[1])
    }
    outputs = sorted(function.structured_outputs)
    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in inputs.values()]

    counts = tf.Variable(tf.zeros(batching.max_batch_size + 1, tf.int64), trainable=False)

    def compute(*tensors: Any) -> list[Any]:
        size = tf.minimum(tf.shape(tensors[0])[0], batching.max_batch_size)
        counts.scatter_nd_add([[size]], tf.ones(1, tf.int64))
        results = function(**dict(zip(inputs, tensors, strict=True)))
        return [results[name] for name in outputs]

    body = tf.function(compute, autograph=False).get_concrete_function(*specs)

    def submit(*tensors: Any) -> list[Any]:
        return tf.raw_ops.BatchFunction(
            in_tensors=list(tensors),
            captured_tensors=body.captured_inputs,
            f=body,
            Tout=[output.dtype for output in body.outputs],
            shared_name="seghgan",
            batching_queue=queue,
            enable_large_batch_splitting=True,
            **batching._asdict(),
        )

    call = tf.function(submit, autograph=False).get_concrete_function(*specs)

    def run(**tensors: Any) -> dict[str, Any]:
        return dict(zip(outputs, call(*(tensors[name] for name in inputs)), strict=True))

    def sizes() -> dict[int, int]:
        return {size: int(count) for size, count in enumerate(counts.numpy()) if count}

    return Batched(run, sizes, body)
