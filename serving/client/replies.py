"""What both protocols answer about models: the reply messages of TensorFlow Serving, filled from the engine."""

from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving import signature as contract
from serving import tensors
from serving.server.engine import Engine


def status(engine: Engine, model: str, version: int | None) -> Any:
    """Return the GetModelStatusResponse of a model; NOT_FOUND where there is none."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for one in engine.status(model, version):
        entry = response.model_version_status.add(version=one.version, state=int(one.state))
        entry.status.error_code = one.code.value[0]
        entry.status.error_message = one.message
    return response


def metadata(engine: Engine, model: str, version: int | None, label: str | None) -> Any:
    """Return the GetModelMetadataResponse of the version that would answer."""
    number, signatures = engine.signatures(model, version, label)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = model
    response.model_spec.version.value = number
    response.metadata["signature_def"].Pack(signature_map(signatures))
    return response


def signature_map(signatures: dict[str, contract.Signature]) -> Any:
    """Return the SignatureDefMap of these signatures."""
    packed = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        definition = packed.signature_def[name]
        definition.method_name = "tensorflow/serving/predict"
        for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
            for key, spec in specs.items():
                _fill_info(infos[key], key, spec)
    return packed


def _fill_info(info: meta_graph_pb2.TensorInfo, name: str, spec: contract.Spec) -> None:
    info.name = f"{name}:0"
    info.dtype = tensors.dtype_number(spec.dtype)
    for size in spec.shape:
        info.tensor_shape.dim.add().size = -1 if size is None else size
