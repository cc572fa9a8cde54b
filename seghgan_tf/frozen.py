"""A SavedModel of constants: normalisations folded, every signature's graph without variables and inlined, the weights held once."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from seghgan_tf.model.layers import BatchNormalization

LEAST = 256
"""Bytes from which a constant is held once and handed to every signature that needs it."""


def fold_norms(network: keras.Model) -> None:
    """Fold each batch normalisation behind a convolution into it; the network computes the same, and learns no more."""
    layers = list(_layers(network))
    convolutions = {id(layer.output): layer for layer in layers if isinstance(layer, keras.layers.Conv2D)}
    for layer in layers:
        if isinstance(layer, BatchNormalization) and id(layer.input) in convolutions:
            layer.fold_into(convolutions[id(layer.input)])


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in network.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def freeze(function: Any) -> Any:
    """Return a concrete function without variables, the functions it calls inlined; loops stay what they are."""
    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def write_frozen(folder: Path, functions: Mapping[str, Any]) -> None:
    """Write concrete functions, by the names of their signatures, as a SavedModel of constants in `folder`.

    Each signature stays one function call, as in every SavedModel of TensorFlow 2, so that servers can batch it.
    """
    frozen = {name: (freeze(function), sorted(function.structured_outputs)) for name, function in functions.items()}
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    shared: dict[bytes, tf.Tensor] = {}
    with tf.Graph().as_default() as graph:
        for name, (function, outputs) in frozen.items():
            meta.signature_def[name].CopyFrom(_signature(name, function, outputs, shared))
    meta.graph_def.CopyFrom(graph.as_graph_def())
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))


def _signature(name: str, function: Any, outputs: list[str], shared: dict[bytes, tf.Tensor]) -> Any:
    """Add a frozen function to the current graph, a call of its own, and describe it; `shared` gathers the weights."""
    body = function.graph.as_graph_def()
    weights = {node.name: _shared(node, shared) for node in body.node if node.op == "Const" and node.ByteSize() > LEAST}
    rest = [node for node in body.node if node.op != "Placeholder" and node.name not in weights]
    del body.node[:]
    body.node.extend(rest)
    made = [tensor.name for tensor in function.outputs]

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip((*inputs, *weights), tensors, strict=True))
        return tf.graph_util.import_graph_def(body, given, made, name="")

    inputs = {
        tensor.op.name: tf.compat.v1.placeholder(tensor.dtype, tensor.shape, f"{name}_{tensor.op.name}")
        for tensor in function.inputs
    }
    results = tf.function(call, autograph=False)(*inputs.values(), *weights.values())
    return meta_graph_pb2.SignatureDef(
        method_name="tensorflow/serving/predict",
        inputs={key: _info(tensor) for key, tensor in inputs.items()},
        outputs={key: _info(tensor) for key, tensor in zip(outputs, results, strict=True)},
    )


def _shared(node: Any, shared: dict[bytes, tf.Tensor]) -> tf.Tensor:
    value = node.attr["value"].tensor
    key = hashlib.sha256(value.SerializeToString()).digest()
    if key not in shared:
        shared[key] = tf.constant(tf.make_ndarray(value), name="weights")
    return shared[key]


def _info(tensor: tf.Tensor) -> Any:
    return meta_graph_pb2.TensorInfo(
        name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )
