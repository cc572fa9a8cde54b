"""Clients that share no code with ours get their answers: min-tfs-client with its own messages, and @grpc/grpc-js from Node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from tests.conftest import ROOT

CLIENTS = ROOT / ".venv" / "clients"
"""Where `make clients` puts them."""

needs_min_tfs = pytest.mark.skipif(not (CLIENTS / "python").is_dir(), reason="needs min-tfs-client: make clients")
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENTS / "node_modules").is_dir(),
    reason="needs Node and its gRPC client: apt-get install nodejs npm, then make clients",
)

MIN_TFS = """
import json, sys

sys.path.append(sys.argv[1])
import grpc
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

client = TensorServingClient("127.0.0.1", int(sys.argv[2]))
stub = prediction_service_pb2_grpc.PredictionServiceStub(client._channel)
image = np.linspace(-0.5, 0.5, 3072, dtype=np.float32).reshape(1, 32, 32, 3)
inputs = {
    "image": image,
    "expression": np.full((1, 3), 0.5, np.float32),
    "regions": np.array([[1, 0, 0, 0]], np.float32),
}


def values(reply):
    version = reply.model_spec.version.value
    return {name: tensor_proto_to_ndarray(proto).tolist() for name, proto in reply.outputs.items()} | {"version": version}


def error(**asked):
    try:
        client.predict_request(**({"model_name": "seghgan", "input_dict": inputs} | asked))
    except grpc.RpcError as refused:
        return [refused.code().name, refused.details()]


said = {"float_val": values(client.predict_request("seghgan", inputs, model_version=1))}
request = predict_pb2.PredictRequest()
request.model_spec.name = "seghgan"
for name, array in inputs.items():
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=array.tobytes())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    request.inputs[name].CopyFrom(proto)
said["tensor_content"] = values(stub.Predict(request, 60))
asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
asked.model_spec.name = "seghgan"
signatures = get_model_metadata_pb2.SignatureDefMap()
assert stub.GetModelMetadata(asked, 60).metadata["signature_def"].Unpack(signatures)
said["metadata"] = {name: sorted(one.inputs) for name, one in signatures.signature_def.items()}
said["errors"] = {
    "model": error(model_name="nobody"),
    "version": error(model_version=99),
    "dtype": error(input_dict=inputs | {"image": image.astype(np.float64)}),
    "inputs": error(input_dict={"image": image}),
}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def strict(run_server: Callable[..., Any], export_v1: Path) -> Any:
    """Address of a server that answers in float_val, as TensorFlow Serving does by default."""
    with run_server(model_dir=export_v1.parent, strict_compatibility=True) as (_, address):
        yield address


def said_by(*command: str | os.PathLike[str], **environment: str) -> dict[str, Any]:
    """Run a client and return what it says it got."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_min_tfs
def test_min_tfs_client_gets_answers_metadata_and_errors(strict: str) -> None:
    """It knows no tensor_content in answers and names no signature: it needs --strict-compatibility and gets serving_default."""
    said = said_by(sys.executable, "-I", "-S", "-c", MIN_TFS, CLIENTS / "python", strict.rpartition(":")[2])
    image = np.linspace(-0.5, 0.5, 3072, dtype=np.float32).reshape(1, 32, 32, 3)
    for form in ("float_val", "tensor_content"):
        assert said[form]["version"] == 1
        np.testing.assert_allclose(said[form]["edited"], image + 0.25, atol=1e-6)
        np.testing.assert_array_equal(said[form]["attention"], np.zeros((1, 32, 32, 1)))
    assert said["metadata"]["serving_default"] == ["expression", "image", "regions"]
    assert said["metadata"]["locate"] == ["image_bytes"]
    codes = {name: code for name, (code, _) in said["errors"].items()}
    assert codes == {
        "model": "NOT_FOUND",
        "version": "NOT_FOUND",
        "dtype": "INVALID_ARGUMENT",
        "inputs": "INVALID_ARGUMENT",
    }
    assert "Latest(nobody)" in said["errors"]["model"][1]
    assert "regions" in said["errors"]["inputs"][1]


def descriptors(file: Path) -> Path:
    """Write the descriptors of both services and of all that they import."""
    found: dict[str, FileDescriptor] = {}

    def add(one: FileDescriptor) -> None:
        for below in one.dependencies:
            add(below)
        found[one.name] = one

    add(prediction_service_pb2.DESCRIPTOR)
    add(model_service_pb2.DESCRIPTOR)
    everything = FileDescriptorSet()
    for one in found.values():
        one.CopyToProto(everything.file.add())
    file.write_bytes(everything.SerializeToString())
    return file


@needs_node
@pytest.mark.parametrize(("server", "form"), [("address", "tensor_content"), ("strict", "float_val")])
def test_grpc_js_gets_answers_metadata_status_and_errors(
    server: str, form: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    address = request.getfixturevalue(server).replace("localhost", "127.0.0.1")
    script = Path(__file__).with_name("clients") / "client.cjs"
    node = shutil.which("node") or ""
    said = said_by(node, script, address, descriptors(tmp_path / "services"), NODE_PATH=str(CLIENTS / "node_modules"))
    for sent in ("tensor_content", "float_val"):
        assert (said[sent]["form"], said[sent]["shape"], said[sent]["version"]) == (form, [1, 3], 1)
        np.testing.assert_allclose(said[sent]["values"], [0.5, 0.75, 1.0], atol=1e-6)
        assert said[sent]["served"] == ("embedded" if "SEGHGAN_TFS_ADDRESS" not in os.environ else None)
    assert said["metadata"]["serving_uint8"] == ["expression", "image", "regions"]
    assert said["status"] == [[1, "AVAILABLE"]]
    codes = {name: error["code"] for name, error in said["errors"].items()}
    assert codes == {
        "model": "NOT_FOUND",
        "signature": "FAILED_PRECONDITION",
        "shape": "INVALID_ARGUMENT",
        "inputs": "INVALID_ARGUMENT",
    }
    assert "Latest(nobody)" in said["errors"]["model"]["text"]
    assert "image" in said["errors"]["inputs"]["text"]
