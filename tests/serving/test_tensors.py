"""Tensors survive the wire, lies about them are refused, and our messages are TensorFlow Serving's."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving import messages, tensors

DTYPES = st.sampled_from(["float32", "float64", "int32", "uint8", "int8", "int64", "bool"])


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_numbers_come_back_bit_equal_and_tensorflow_reads_the_same(array: np.ndarray) -> None:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    proto = messages.TensorProto()
    tensors.encode(array, proto)
    back = tensors.decode(proto)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
    assert theirs.tobytes() == array.tobytes()


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(DTYPES, hnp.array_shapes(max_side=4), elements={"allow_nan": False}))
def test_values_that_tensorflow_packs_field_by_field_are_read(array: np.ndarray) -> None:
    import tensorflow as tf

    packed = tf.make_tensor_proto(array)
    field = tensors._FIELDS[packed.dtype][1]
    loose = type(packed)(dtype=packed.dtype, tensor_shape=packed.tensor_shape, **{field: array.ravel().tolist()})
    np.testing.assert_array_equal(tensors.decode(loose), array)


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(DTYPES, hnp.array_shapes(max_side=4)))
def test_numbers_written_one_by_one_come_back_bit_equal(array: np.ndarray) -> None:
    proto = messages.TensorProto()
    tensors.encode(array, proto, content=False)
    assert not proto.tensor_content
    assert tensors.decode(proto).tobytes() == array.tobytes()


def test_one_value_fills_a_shape_and_none_is_zero() -> None:
    proto = messages.TensorProto(dtype=1, float_val=[0.5])
    proto.tensor_shape.dim.add(size=3)
    np.testing.assert_array_equal(tensors.decode(proto), np.float32([0.5, 0.5, 0.5]))
    proto.ClearField("float_val")
    np.testing.assert_array_equal(tensors.decode(proto), np.zeros(3, np.float32))


def test_strings_come_back_as_bytes() -> None:
    proto = messages.TensorProto()
    tensors.encode(np.array([b"a\0", b""], object), proto)
    assert tensors.decode(proto).tolist() == [b"a\0", b""]


def _proto(dtype: int, shape: list[int], **fields: object) -> object:
    proto = messages.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (_proto(0, [1]), "dtype must be one of"),
        (_proto(19, [1]), "dtype must be one of"),
        (_proto(999, [1]), "dtype must be one of"),
        (_proto(1, [-1], float_val=[1.0]), "none negative"),
        (_proto(1, [1] * 9, float_val=[1.0]), "at most 8 dimensions"),
        (_proto(1, [2], tensor_content=b"1234"), "must have 8 bytes"),
        (_proto(1, [1], tensor_content=b"12345678"), "must have 4 bytes"),
        (_proto(1, [1], float_val=[1.0, 2.0]), "at most 1 values"),
        (_proto(1, [1 << 40]), "at most 1073741824 bytes"),
        (_proto(1, [1 << 62, 1 << 62]), "at most 1073741824 bytes"),
        (_proto(7, [2], string_val=[b"a"]), "must hold 2 values"),
        (_proto(7, [1], tensor_content=b"a"), "string_val"),
        (_proto(4, [1], int_val=[256]), "fit uint8"),
        (_proto(4, [1], int_val=[-1]), "fit uint8"),
    ],
)
def test_contradictions_are_refused(proto: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tensors.decode(proto)


def test_an_unknown_rank_is_refused() -> None:
    proto = messages.TensorProto(dtype=1)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="must be known"):
        tensors.decode(proto)


STUBS = {
    "PredictRequest": "predict",
    "PredictResponse": "predict",
    "GetModelMetadataRequest": "get_model_metadata",
    "GetModelMetadataResponse": "get_model_metadata",
    "SignatureDefMap": "get_model_metadata",
    "GetModelStatusRequest": "get_model_status",
    "GetModelStatusResponse": "get_model_status",
}


def _compare(ours: object, theirs: object, seen: set[str]) -> None:
    if ours.full_name in seen or ours.full_name.startswith("google.protobuf"):
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        enum = other.type == other.TYPE_ENUM
        assert field.number == other.number, field.full_name
        assert field.type == (field.TYPE_INT32 if enum else other.type), field.full_name
        assert field.is_repeated == other.is_repeated, field.full_name
        if field.message_type is not None:
            assert field.message_type.GetOptions().map_entry == other.message_type.GetOptions().map_entry
            _compare(field.message_type, other.message_type, seen)


@pytest.mark.parametrize("name", sorted(STUBS))
def test_our_messages_have_the_fields_of_the_official_stubs(name: str) -> None:
    stubs = importlib.import_module(f"tensorflow_serving.apis.{STUBS[name]}_pb2")
    seen: set[str] = set()
    _compare(getattr(messages, name).DESCRIPTOR, getattr(stubs, name).DESCRIPTOR, seen)
    assert seen


def test_the_client_needs_no_tensorflow() -> None:
    code = "import sys, serving.client.sync, serving.client.aio, serving.cli; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"
