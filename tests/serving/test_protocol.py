"""The gRPC services answer as TensorFlow Serving does: the same codes and key words, over real connections.

SEGHGAN_TFS_ADDRESS runs all but the tests of our own additions against a real TensorFlow Serving that serves
`python tests/serving/fake_export.py EXPORT` as `seghgan`.
"""

import os
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving import messages, tensors
from serving.signature import signatures

ours = pytest.mark.skipif(
    "SEGHGAN_TFS_ADDRESS" in os.environ, reason="TensorFlow Serving has no such check; unset SEGHGAN_TFS_ADDRESS"
)


@pytest.fixture(scope="module")
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> prediction_service_pb2_grpc.PredictionServiceStub:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel: grpc.Channel) -> model_service_pb2_grpc.ModelServiceStub:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(
    signature: str = "serving_default", batch: int = 1, **changed: np.ndarray | None
) -> predict_pb2.PredictRequest:
    """A good request; `changed` replaces inputs, None leaves them out."""
    values = {
        "image": np.zeros((batch, 32, 32, 3), np.uint8 if signature == "serving_uint8" else np.float32),
        "expression": np.full((batch, 3), 0.5, np.float32),
        "regions": np.tile(np.float32([1, 0, 0, 0]), (batch, 1)),
        "image_bytes": np.full(batch, b"", object),
        "jpeg_quality": np.zeros(batch, np.int32),
        "frames": np.zeros((batch, 2, 3), np.float32),
    }
    names = signatures(32, 3)[signature].inputs if signature in signatures(32, 3) else ["image"]
    sent = predict_pb2.PredictRequest()
    sent.model_spec.name = "seghgan"
    sent.model_spec.signature_name = signature
    for name, array in ({key: values[key] for key in names} | changed).items():
        if array is not None:
            tensors.encode(array, sent.inputs[name])
    return sent


def refusal(method: grpc.UnaryUnaryMultiCallable, message: object) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        method(message, timeout=20)
    return caught.value.code(), caught.value.details()


def test_predict_names_model_version_and_signature_that_answered(prediction) -> None:
    reply = prediction.Predict(request("analyze"), timeout=20)
    assert (reply.model_spec.name, reply.model_spec.version.value) == ("seghgan", 1)
    assert reply.model_spec.signature_name == "analyze"
    assert reply.model_spec.version_label == ""
    np.testing.assert_allclose(tensors.decode(reply.outputs["expression"]), [[0.5, 0.5, 0.5]])


def test_an_empty_signature_name_is_serving_default(prediction) -> None:
    sent = request()
    sent.model_spec.signature_name = ""
    reply = prediction.Predict(sent, timeout=20)
    assert reply.model_spec.signature_name == "serving_default"
    assert set(reply.outputs) == {"edited", "attention"}


def test_outputs_agree_with_the_saved_model(prediction, export_v1) -> None:
    import tensorflow as tf

    random = np.random.default_rng(0)
    image = random.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    expression = random.random((3, 3), np.float32)
    regions = np.eye(4, dtype=np.float32)[:3]
    reply = prediction.Predict(request(batch=3, image=image, expression=expression, regions=regions), timeout=20)
    direct = tf.saved_model.load(str(export_v1)).signatures["serving_default"](
        image=tf.constant(image), expression=tf.constant(expression), regions=tf.constant(regions)
    )
    for name, value in direct.items():
        np.testing.assert_allclose(tensors.decode(reply.outputs[name]), value, atol=1e-5)


def test_an_output_filter_chooses_outputs(prediction) -> None:
    sent = request()
    sent.output_filter.append("attention")
    assert set(prediction.Predict(sent, timeout=20).outputs) == {"attention"}


def test_a_wrong_name_version_label_or_signature_has_tensorflow_servings_code(prediction) -> None:
    sent = request()
    sent.model_spec.name = ""
    assert refusal(prediction.Predict, sent)[0] is StatusCode.INVALID_ARGUMENT
    sent.model_spec.name = "nobody"
    code, text = refusal(prediction.Predict, sent)
    assert code is StatusCode.NOT_FOUND
    assert "Latest(nobody)" in text
    sent = request()
    sent.model_spec.version.value = 99
    code, text = refusal(prediction.Predict, sent)
    assert code is StatusCode.NOT_FOUND
    assert "Specific(seghgan, 99)" in text
    sent.model_spec.version_label = "nightly"
    assert refusal(prediction.Predict, sent)[0] is StatusCode.INVALID_ARGUMENT
    code, text = refusal(prediction.Predict, request("paint"))
    assert code is StatusCode.FAILED_PRECONDITION
    assert '"paint"' in text


def test_missing_and_extra_inputs_are_listed(prediction) -> None:
    sent = request(regions=None, strength=np.ones((1, 1), np.float32))
    code, text = refusal(prediction.Predict, sent)
    assert code is StatusCode.INVALID_ARGUMENT
    assert "regions" in text
    assert "strength" in text


@pytest.mark.parametrize("wanted", [["nothing"], ["edited", "edited"]])
def test_an_unknown_or_doubled_output_is_refused(prediction, wanted: list[str]) -> None:
    sent = request()
    sent.output_filter.extend(wanted)
    assert refusal(prediction.Predict, sent)[0] is StatusCode.INVALID_ARGUMENT


def test_metadata_gives_the_signatures(prediction) -> None:
    sent = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    sent.model_spec.name = "seghgan"
    reply = prediction.GetModelMetadata(sent, timeout=20)
    assert reply.model_spec.version.value == 1
    packed: any_pb2.Any = reply.metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    image = signatures.signature_def["segment"].inputs["image"]
    assert (image.dtype, [dim.size for dim in image.tensor_shape.dim]) == (1, [-1, 32, 32, 3])
    assert signatures.signature_def["segment"].method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("fields", [[], ["weights"], ["signature_def", "weights"]])
def test_other_metadata_is_refused(prediction, fields: list[str]) -> None:
    sent = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    sent.model_spec.name = "seghgan"
    assert refusal(prediction.GetModelMetadata, sent)[0] is StatusCode.INVALID_ARGUMENT


def test_status_tells_state_and_ignores_labels(models) -> None:
    sent = get_model_status_pb2.GetModelStatusRequest()
    sent.model_spec.name = "seghgan"
    sent.model_spec.version_label = "anything"
    (version,) = models.GetModelStatus(sent, timeout=20).model_version_status
    assert (version.version, version.state, version.status.error_code) == (1, 30, 0)


def test_status_without_spec_or_of_unknown_models_is_refused(models) -> None:
    sent = get_model_status_pb2.GetModelStatusRequest()
    assert refusal(models.GetModelStatus, sent)[0] is StatusCode.INVALID_ARGUMENT
    sent.model_spec.name = "nobody"
    assert refusal(models.GetModelStatus, sent)[0] is StatusCode.NOT_FOUND
    sent.model_spec.name = "seghgan"
    sent.model_spec.version.value = 99
    assert refusal(models.GetModelStatus, sent)[0] is StatusCode.NOT_FOUND


def test_classify_regress_and_multi_inference_are_never_a_silent_ok(prediction) -> None:
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "seghgan"
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = "seghgan"
    several = inference_pb2.MultiInferenceRequest()
    refused = (StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION)
    assert refusal(prediction.Classify, classify)[0] in refused
    assert refusal(prediction.Regress, regress)[0] in refused
    assert refusal(prediction.MultiInference, several)[0] in refused


def test_health_is_reported_for_the_server_and_its_services(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "PredictionService", "ModelService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status == 1
    assert refusal(stub.Check, health_pb2.HealthCheckRequest(service="nobody"))[0] is StatusCode.NOT_FOUND


@ours
def test_the_server_says_that_it_is_embedded_and_returns_the_request_id(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    _, done = call.with_call(request().SerializeToString(), metadata=[("x-request-id", "abc-1")], timeout=20)
    trailing = dict(done.trailing_metadata())
    assert (trailing["x-served-by"], trailing["x-request-id"]) == ("embedded", "abc-1")


@ours
def test_clients_may_not_reload_unless_they_are_allowed_to(models) -> None:
    code, text = refusal(models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest())
    assert code is StatusCode.PERMISSION_DENIED
    assert "--allow-reload" in text


def _bad() -> dict[str, object]:  # noqa: C901
    """Requests that must be refused with INVALID_ARGUMENT; raw bytes or messages."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    cases: dict[str, object] = {}
    for dtype in ("float64", "uint8", "int32", "int64", "bool", "int8"):
        cases[f"image as {dtype}"] = request(image=image.astype(dtype))
        cases[f"expression as {dtype}"] = request(expression=np.zeros((1, 3), dtype))
        cases[f"regions as {dtype}"] = request(regions=np.zeros((1, 4), dtype))
    for shape in (
        (),
        (1,),
        (32, 32, 3),
        (1, 32, 32),
        (1, 32, 32, 1),
        (1, 32, 32, 4),
        (1, 31, 32, 3),
        (1, 64, 64, 3),
        (1, 0, 32, 3),
        (0, 32, 32, 3),
        (1, 32, 32, 3, 1),
        (1, 3, 32, 32),
    ):
        cases[f"image of shape {shape}"] = request(image=np.zeros(shape, np.float32))
    for shape in ((3,), (1, 2), (1, 4), (2, 3), (1, 3, 1), (0, 3), ()):
        cases[f"expression of shape {shape}"] = request(expression=np.zeros(shape, np.float32))
    for shape in ((4,), (1, 3), (2, 4), (0, 4)):
        cases[f"regions of shape {shape}"] = request(regions=np.zeros(shape, np.float32))
    for name, fill in (
        ("image", image),
        ("expression", np.zeros((1, 3), np.float32)),
        ("regions", np.zeros((1, 4), np.float32)),
    ):
        for value in (np.nan, np.inf, -np.inf, 1e30, -2.0):
            wrong = fill.copy()
            wrong.flat[-1] = value
            cases[f"{name} with {value}"] = request(**{name: wrong})
        cases[f"no {name}"] = request(**{name: None})
        cases[f"{name} as text"] = request(**{name: np.full(1, b"x", object)})
    cases["batch of nothing"] = request(batch=0)
    cases["other input"] = request(zzz=np.zeros((1, 1), np.float32))
    cases["many inputs"] = request(**{f"i{i}": np.zeros((1, 1), np.float32) for i in range(70)})
    photos = {
        "empty photo": b"",
        "text photo": b"hello" * 20,
        "cut PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        "huge PNG header": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0" + b"\0" * 40,
        "cut JPEG": b"\xff\xd8\xff\xe0" + b"\0" * 40,
        "GIF": b"GIF89a" + b"\0" * 60,
    }
    for name, photo in photos.items():
        cases[name] = request("edit_bytes", image_bytes=np.full(1, photo, object))
    for quality in (-1, 101, 1 << 30):
        cases[f"quality {quality}"] = request("edit_bytes", jpeg_quality=np.full(1, quality, np.int32))
    for name, (fields, shape) in {
        "content too short": ({"tensor_content": b"\0" * 12}, (1, 32, 32, 3)),
        "content too long": ({"tensor_content": b"\0" * 20000}, (1, 32, 32, 3)),
        "2 GiB claim": ({"float_val": [0.0]}, (1 << 29, 1)),
        "overflowing claim": ({"float_val": [0.0]}, (1 << 40, 1 << 40)),
        "negative dimension": ({"float_val": [0.0]}, (-1, 32, 32, 3)),
        "many dimensions": ({"float_val": [0.0]}, (1,) * 300),
        "too many values": ({"float_val": [0.0] * 4000}, (1, 32, 32, 3)),
    }.items():
        sent = request()
        sent.inputs["image"].CopyFrom(type(sent.inputs["image"])(dtype=1, **fields))
        for size in shape:
            sent.inputs["image"].tensor_shape.dim.add(size=size)
        cases[name] = sent
    for dtype in (0, 8, 14, 19, 20, 21, 101):
        sent = request()
        sent.inputs["image"].dtype = dtype
        cases[f"dtype number {dtype}"] = sent
    sent = request()
    sent.inputs["image"].tensor_shape.unknown_rank = True
    cases["unknown rank"] = sent
    cases["not a message"] = b"\xff" * 50
    cases["cut message"] = request().SerializeToString()[:-7]
    cases["endless group"] = b"\x0b" * 10000
    return cases


BAD = _bad()


def test_there_are_more_than_sixty_bad_inputs() -> None:
    assert len(BAD) > 60


@ours
@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_refused_in_words(channel: grpc.Channel, name: str) -> None:
    sent = BAD[name]
    raw = sent if isinstance(sent, bytes) else sent.SerializeToString()
    code, text = refusal(channel.unary_unary("/tensorflow.serving.PredictionService/Predict"), raw)
    assert code is StatusCode.INVALID_ARGUMENT
    assert 0 < len(text) < 1100
    assert "/work" not in text
    assert "node" not in text


@ours
def test_a_million_unknown_fields_and_map_keys_are_survived(channel: grpc.Channel) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    unknown = b"\xf8\x07\x01" * 300_000
    assert call(request().SerializeToString() + unknown, timeout=20)
    keys = b"".join(b"\x12\x09\x0a\x05%05x\x12\x00" % i for i in range(100_000))
    code, text = refusal(call, request().SerializeToString() + keys)
    assert code is StatusCode.INVALID_ARGUMENT
    assert "at most 64 inputs" in text


@ours
def test_random_changes_of_good_requests_never_break_the_server(channel: grpc.Channel, prediction) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    random = np.random.default_rng(2112)
    seeds = [request(name).SerializeToString() for name in signatures(32, 3)]
    allowed = {
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.RESOURCE_EXHAUSTED,
    }
    for _ in range(1000):
        raw = bytearray(seeds[random.integers(len(seeds))])
        for _ in range(random.integers(1, 8)):
            place = int(random.integers(min(len(raw), 200)))
            raw[place : place + int(random.integers(0, 3))] = random.bytes(int(random.integers(0, 3)))
        try:
            call(bytes(raw), timeout=20)
        except grpc.RpcError as error:
            assert error.code() in allowed, (bytes(raw[:200]), error.code(), error.details())  # noqa: PT017
    assert prediction.Predict(request(), timeout=20).outputs


@ours
def test_a_bad_photo_does_not_fail_what_it_is_batched_with(channel: grpc.Channel) -> None:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 40), (10, 20, 30)).save(file, "PNG")
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict", response_deserializer=messages.PredictResponse.FromString
    )
    good = request("edit_bytes", image_bytes=np.full(1, file.getvalue(), object)).SerializeToString()
    bad = request("edit_bytes", image_bytes=np.full(1, b"\xff\xd8\xff" + b"x" * 90, object)).SerializeToString()
    for _ in range(3):  # 12 calls are what a server with its defaults takes at once
        waiting = [call.future(bad if i % 4 == 0 else good, timeout=20) for i in range(12)]
        codes = [one.code() for one in waiting]
        assert codes == [StatusCode.INVALID_ARGUMENT if i % 4 == 0 else StatusCode.OK for i in range(12)]
