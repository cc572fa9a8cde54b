"""TensorProto to numpy and back, without TensorFlow and trusting nothing that a peer sends."""

import math
from typing import Any

import numpy as np

MAX_BYTES = 1 << 30
"""Largest tensor that is decoded unless the caller says otherwise, in bytes."""

_FIELDS = {
    1: ("float32", "float_val"),
    2: ("float64", "double_val"),
    3: ("int32", "int_val"),
    4: ("uint8", "int_val"),
    6: ("int8", "int_val"),
    7: ("bytes", "string_val"),
    9: ("int64", "int64_val"),
    10: ("bool", "bool_val"),
}
_NUMBERS = {name: number for number, (name, _) in _FIELDS.items()}


def dtype_number(name: str) -> int:
    """Return the number of TensorFlow's DataType for a numpy dtype name, `bytes` for strings."""
    if name not in _NUMBERS:
        raise ValueError(f"dtype must be one of {sorted(_NUMBERS)}. Received: {name}")
    return _NUMBERS[name]


def dtype_name(number: int) -> str:
    """Return the numpy dtype name (`bytes` for strings) of a DataType number."""
    if number not in _FIELDS:
        raise ValueError(f"dtype must be one of {sorted(_NUMBERS)}. Received: DataType {number}")
    return _FIELDS[number][0]


def decode(proto: Any, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Return the array that a TensorProto holds; strings become an object array of bytes.

    As in TensorFlow, one value or more may stand for all that follow. ValueError where dtype, shape and content
    contradict each other or the tensor would take more than `max_bytes`.
    """
    name = dtype_name(proto.dtype)
    field = _FIELDS[proto.dtype][1]
    if proto.tensor_shape.unknown_rank:
        raise ValueError("tensor_shape must be known. Received: unknown_rank")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > 8 or any(size < 0 for size in shape):
        raise ValueError(f"tensor_shape must have at most 8 dimensions, none negative. Received: {shape[:16]}")
    count = math.prod(shape)
    item = 8 if name == "bytes" else np.dtype(name).itemsize
    if count * item > max_bytes:
        raise ValueError(f"A tensor may take at most {max_bytes} bytes. Received: {name} of shape {shape}")
    if name == "bytes":
        if proto.tensor_content:
            raise ValueError("Strings must be sent in string_val. Received: tensor_content")
        return _strings(proto.string_val, count, shape)
    if proto.tensor_content:
        if len(proto.tensor_content) != count * item:
            raise ValueError(
                f"tensor_content must have {count * item} bytes for {name} of shape {shape}. Received: {len(proto.tensor_content)}"
            )
        return (
            np.frombuffer(proto.tensor_content, np.dtype(name).newbyteorder("<"))
            .astype(name, copy=False)
            .reshape(shape)
        )
    return _numbers(getattr(proto, field), name, count, shape, field)


def _strings(values: Any, count: int, shape: tuple[int, ...]) -> np.ndarray:
    if len(values) != count:
        raise ValueError(f"string_val must hold {count} values for shape {shape}. Received: {len(values)}")
    array = np.empty(count, object)
    array[:] = list(values)
    return array.reshape(shape)


def _numbers(values: Any, name: str, count: int, shape: tuple[int, ...], field: str) -> np.ndarray:
    if len(values) > count:
        raise ValueError(f"{field} must hold at most {count} values for shape {shape}. Received: {len(values)}")
    given = np.array(values, dtype="int64" if field == "int_val" else name)
    if field == "int_val" and given.size:
        bounds = np.iinfo(name)
        if given.min() < bounds.min or given.max() > bounds.max:
            raise ValueError(f"{field} must fit {name}. Received: values from {given.min()} to {given.max()}")
    array = np.empty(count, name)
    array[: given.size] = given
    array[given.size :] = given[-1] if given.size else 0
    return array.reshape(shape)


def encode(array: np.ndarray, proto: Any, content: bool = True) -> None:
    """Fill a TensorProto from an array: numbers as tensor_content, objects and byte strings as string_val.

    Without `content`, numbers are written one by one (float_val and so on), as TensorFlow Serving does unless told otherwise.
    """
    name = "bytes" if array.dtype.kind in "OS" else array.dtype.name
    proto.dtype = dtype_number(name)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if name == "bytes":
        proto.string_val.extend(bytes(value) for value in array.ravel())
    elif not content:
        getattr(proto, _FIELDS[proto.dtype][1]).extend(array.ravel().tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array, np.dtype(name).newbyteorder("<")).tobytes()
