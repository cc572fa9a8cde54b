"""The protocol messages a client needs, built from their public field names and numbers, so that it needs no TensorFlow.

The `tensorflow-serving-api` stubs import TensorFlow (seconds, a gigabyte on disk). These messages live in a pool of
their own, have the same wire format, and a test compares every field with the stubs'. The last three describe text
files of TensorFlow Serving that the stubs lack; only their field names matter.
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_SCALARS = {"double": 1, "float": 2, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "enum": 5}

# name: number, type; `*` is repeated, `{}` a map from string (`{int64}`: to int64).
_TENSORFLOW = {
    "TensorShapeProto.Dim": "size=1 int64, name=2 string",
    "TensorShapeProto": "dim=2 *TensorShapeProto.Dim, unknown_rank=3 bool",
    "TensorProto": "dtype=1 enum, tensor_shape=2 TensorShapeProto, version_number=3 int32, tensor_content=4 bytes, float_val=5 *float,"
    " double_val=6 *double, int_val=7 *int32, string_val=8 *bytes, int64_val=10 *int64, bool_val=11 *bool",
    "TensorInfo": "name=1 string, dtype=2 enum, tensor_shape=3 TensorShapeProto",
    "SignatureDef": "inputs=1 {TensorInfo}, outputs=2 {TensorInfo}, method_name=3 string",
}
_SERVING = {
    "ModelSpec": "name=1 string, version=2 .google.protobuf.Int64Value, signature_name=3 string, version_label=4 string",
    "PredictRequest": "model_spec=1 ModelSpec, inputs=2 {.tensorflow.TensorProto}, output_filter=3 *string",
    "PredictResponse": "outputs=1 {.tensorflow.TensorProto}, model_spec=2 ModelSpec",
    "SignatureDefMap": "signature_def=1 {.tensorflow.SignatureDef}",
    "GetModelMetadataRequest": "model_spec=1 ModelSpec, metadata_field=2 *string",
    "GetModelMetadataResponse": "model_spec=1 ModelSpec, metadata=2 {.google.protobuf.Any}",
    "StatusProto": "error_code=1 enum, error_message=2 string",
    "GetModelStatusRequest": "model_spec=1 ModelSpec",
    "ModelVersionStatus": "version=1 int64, state=2 enum, status=3 StatusProto",
    "GetModelStatusResponse": "model_version_status=1 *ModelVersionStatus",
    "BatchingParameters": "max_batch_size=1 .google.protobuf.Int64Value, batch_timeout_micros=2 .google.protobuf.Int64Value,"
    " max_enqueued_batches=3 .google.protobuf.Int64Value, num_batch_threads=4 .google.protobuf.Int64Value,"
    " thread_pool_name=5 .google.protobuf.StringValue, allowed_batch_sizes=6 *int64, pad_variable_length_inputs=7 bool",
    "PrometheusConfig": "enable=1 bool, path=2 string",
    "MonitoringConfig": "prometheus_config=1 PrometheusConfig",
    "SSLConfig": "server_key=1 string, server_cert=2 string, custom_ca=3 string, client_verify=4 bool",
}


def _field(message: Any, package: str, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=1)
    if kind.startswith("*"):
        field.label, kind = 3, kind[1:]
    if kind.startswith("{"):
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _field(entry, package, "key", "1", "string")
        _field(entry, package, "value", "2", kind[1:-1])
        field.label, field.type = 3, 11
        field.type_name = f".{package}.{message.name}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = 11
        field.type_name = kind if kind.startswith(".") else f".{package}.{kind}"


def _file(package: str, table: dict[str, str], needs: list[str]) -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"seghgan/{package}.proto", package=package, syntax="proto3", dependency=needs
    )
    nested = {}
    for name, fields in table.items():
        outer, _, inner = name.partition(".")
        message = descriptor_pb2.DescriptorProto(name=inner or outer)
        for field in fields.split(","):
            key, kind = field.split()
            key, _, number = key.partition("=")
            _field(message, package, key, number, kind)
        if inner:
            nested[outer] = message
        else:
            if name in nested:
                message.nested_type.append(nested[name])
            file.message_type.append(message)
    return file


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    wkt = [wrappers_pb2.DESCRIPTOR, any_pb2.DESCRIPTOR]
    for file in wkt:
        pool.AddSerializedFile(file.serialized_pb)
    needs = [file.name for file in wkt]
    for package, table in (("tensorflow", _TENSORFLOW), ("tensorflow.serving", _SERVING)):
        built = _file(package, table, needs)
        pool.AddSerializedFile(built.SerializeToString())
        needs = [*needs, built.name]
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


TensorProto = _message("tensorflow.TensorProto")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
BatchingParameters = _message("tensorflow.serving.BatchingParameters")
MonitoringConfig = _message("tensorflow.serving.MonitoringConfig")
SSLConfig = _message("tensorflow.serving.SSLConfig")
