"""Dynamic batching by TensorFlow's own batch operation, the engine that TensorFlow Serving uses.

`tf.nondifferentiable_batch_function` is the public face of this operation. In a process that loads version after
version it never lets go of what a version's batches ran (2.5 MB a version of a toy model, measured), because its
resources live as long as TensorFlow's eager context. So the raw operation is put into the graph of the version's own
session, as TensorFlow Serving has it, and goes when that session is closed.
"""

from pathlib import Path
from typing import Any, NamedTuple

from seghgan_tf.machine import cores
from serving import messages
from serving.server.settings import CONFIG, read_message

BATCH_SIZE = "batch_size"
"""Name of the extra output of a batched signature."""


class Batching(NamedTuple):
    """How requests are put together; the names and meanings are those of TensorFlow Serving's batching file."""

    max_batch_size: int = 8
    batch_timeout_micros: int = 2000
    max_enqueued_batches: int = 2
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = tuple(range(1, 9))


def read_batching(path: Path | str = CONFIG / "batching_parameters.pbtxt") -> Batching:
    """Read a `batching_parameters.pbtxt`; ValueError where it is not one or its numbers contradict each other.

    Without `allowed_batch_sizes` no batch is padded. Where the file leaves `num_batch_threads` out, it is the number of cores, and `max_enqueued_batches` follows it.
    """
    parsed = read_message(path, messages.BatchingParameters, "batching_parameters_file")
    if parsed.pad_variable_length_inputs:
        raise ValueError("`pad_variable_length_inputs` must be false because images have one size. Received: true")

    def value(name: str, default: int) -> int:
        return int(getattr(parsed, name).value) if parsed.HasField(name) else default

    threads = value("num_batch_threads", cores())
    largest = value("max_batch_size", Batching().max_batch_size)
    sizes = tuple(parsed.allowed_batch_sizes) or tuple(range(1, largest + 1))
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


def batched(feeds: dict[str, Any], fetches: dict[str, Any], queue: str, batching: Batching) -> dict[str, Any] | None:
    """Add to the current graph a batched form of a signature and return its outputs by name.

    Besides the outputs there is `BATCH_SIZE`, an int32 for each example: the size of the batch it ran in, padding
    included. `feeds` and `fetches` are the signature's tensors, which must enter and leave one function call, as in
    every SavedModel of TensorFlow 2; None where they do not. Calls of one `queue` are mixed. None for files, too: the graph works
    on photos one by one, so that each would only wait for the last.
    """
    import tensorflow as tf
    from tensorflow.core.framework import attr_value_pb2

    (call, *others) = {tensor.op for tensor in fetches.values()}
    count = len(feeds)
    files = any(tensor.dtype == tf.string for tensor in feeds.values())
    if files or others or not call.type.endswith("PartitionedCall"):
        return None
    entering, captured = list(call.inputs[:count]), list(call.inputs[count:])
    if {tensor.name for tensor in entering} != {tensor.name for tensor in feeds.values()}:
        return None
    types = [output.dtype for output in call.outputs]
    function = attr_value_pb2.NameAttrList(name=call.get_attr("f").name)

    def compute(*tensors: Any) -> list[Any]:
        outputs = tf.raw_ops.StatefulPartitionedCall(args=list(tensors), Tout=types, f=function)
        size = tf.shape(tensors[0])[:1]
        return [*outputs, tf.fill(size, size[0])]

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in (*entering, *captured)]
    body = tf.function(compute, autograph=False).get_concrete_function(*specs)
    body.add_to_graph(tf.compat.v1.get_default_graph())
    outputs = tf.raw_ops.BatchFunction(
        in_tensors=entering,
        captured_tensors=captured,
        f=attr_value_pb2.NameAttrList(name=tf.compat.as_str(body.name)),
        Tout=[*types, tf.int32],
        shared_name="seghgan",
        batching_queue=queue,
        enable_large_batch_splitting=True,
        **batching._asdict(),
    )
    return {name: outputs[tensor.value_index] for name, tensor in fetches.items()} | {BATCH_SIZE: outputs[-1]}
