"""What both protocols answer about models: the reply messages of TensorFlow Serving, filled from the engine."""

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.server.engine import Engine


def status(engine: Engine, model: str, version: int | None) -> Any:
    """Return the GetModelStatusResponse of a model; NOT_FOUND where there is none."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for one in engine.models.status(model, version):
        entry = response.model_version_status.add(version=one.version, state=int(one.state))
        entry.status.error_code = one.code.value[0]
        entry.status.error_message = one.message
    return response


def metadata(engine: Engine, model: str, version: int | None, label: str | None) -> Any:
    """Return the GetModelMetadataResponse of the version that would answer."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = model
    with engine.models.use(model, version, label) as servable:
        response.model_spec.version.value = servable.version
        packed = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.definitions)
    response.metadata["signature_def"].Pack(packed)
    return response
