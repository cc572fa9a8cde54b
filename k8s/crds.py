"""JSON Schemas of the kinds that other controllers bring, from the models their own projects publish, closed to unknown fields.

Three sorts: classes that list their fields in `openapi_types` (KServe, the training operator), which are read and never run;
pydantic classes (Kubeflow Trainer, JobSet, the Prometheus operator), which write their schemas themselves; and one schema kept
here (Flink, whose project publishes no wheel).
"""

import ast
import functools
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pydantic
import referencing

MODELS = Path(sys.prefix) / "k8s-models"
"""Where the make target puts the wheels of models.lock."""
LISTED = {
    ("kubeflow.org/v1", "TFJob"): ("kubeflow/training", "KubeflowOrgV1TFJob"),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): ("kserve", "V1alpha1ServingRuntime"),
    ("serving.kserve.io/v1beta1", "InferenceService"): ("kserve", "V1beta1InferenceService"),
}
"""Package folder and class of each kind whose class lists its fields."""
KEPT = {("flink.apache.org/v1beta1", "FlinkDeployment"): "flinkdeployment.json"}
"""File of each kind whose schema is kept here; the file names its source."""
PYDANTIC = {
    ("jobset.x-k8s.io/v1alpha2", "JobSet"): ("kubeflow_trainer_api.models", "JobsetV1alpha2JobSet"),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): ("kubeflow_trainer_api.models", "TrainerV1alpha1TrainJob"),
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): (
        "kubeflow_trainer_api.models",
        "TrainerV1alpha1TrainingRuntime",
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ("cloudcoil.models.prometheus_operator.v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"): ("cloudcoil.models.prometheus_operator.v1", "PrometheusRule"),
}
"""Module and class of each kind whose class is pydantic's."""
CORE = "v1.31.0-local-strict"
"""Kubernetes' own types inside a custom kind (a pod's spec) are held to the oldest version that the manifests support."""
SIMPLE = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {"type": "object"},
    "datetime": {"type": "string", "format": "date-time"},
    "ResourceQuantity": {"type": ["string", "number"]},
}

Schema = dict[str, Any]


def knows(resource: dict[str, Any]) -> bool:
    """Say whether there is a schema for this resource's kind."""
    return (resource["apiVersion"], resource["kind"]) in {**LISTED, **KEPT, **PYDANTIC}


def custom_problems(resource: dict[str, Any]) -> list[str]:
    """Return what its project's schema refuses in a resource of a custom kind; RuntimeError where the models are missing."""
    key = (resource["apiVersion"], resource["kind"])
    where = f"{resource['kind']}/{resource['metadata']['name']}"
    errors = map(_deepest, _validator(*key).iter_errors(resource))
    found = [f"{where} at {error.json_path}: {error.message[:200]}" for error in errors]
    if not found and key in PYDANTIC:
        # Enumerations are in the classes' validators, not in their schemas.
        model = _class(*PYDANTIC[key])
        try:
            getattr(model, "from_dict", model.model_validate)(resource)
        except pydantic.ValidationError as error:
            found = [f"{where} at {'.'.join(map(str, one['loc']))}: {one['msg'][:200]}" for one in error.errors()]
    return found


def _deepest(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    return jsonschema.exceptions.best_match([error])


@functools.cache
def _validator(version: str, kind: str) -> jsonschema.Draft202012Validator:
    if not MODELS.is_dir():
        raise RuntimeError(f"The models of custom kinds are missing from {MODELS}: run `make k8s-validate`")
    key = (version, kind)
    if key in KEPT:
        text = (Path(__file__).parent / KEPT[key]).read_text()
        schema = json.loads(text.replace('"core#', f'"{_core()["$id"]}#'))
    else:
        schema = _listed(*LISTED[key]) if key in LISTED else _pydantic(*PYDANTIC[key])
    core = referencing.Resource.from_contents(_core())
    return jsonschema.Draft202012Validator(schema, registry=core @ referencing.Registry())


@functools.cache
def _core() -> Schema:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / CORE
    return json.loads((folder / "_definitions.json").read_text())


def _class(module: str, name: str) -> type[pydantic.BaseModel]:
    if str(MODELS) not in sys.path:
        sys.path.append(str(MODELS))
    return getattr(importlib.import_module(module), name)


def _pydantic(module: str, name: str) -> Schema:
    schema = _class(module, name).model_json_schema(by_alias=True)
    for title, one in [*schema["$defs"].items(), (name, schema)]:
        if title.endswith(("Quantity", "IntOrString")):
            one.clear()
            one["type"] = ["string", "number"]
        elif one.get("properties"):
            one.setdefault("additionalProperties", False)
    return schema


def _listed(package: str, name: str) -> Schema:
    init = (MODELS / package / "models" / "__init__.py").read_text()
    files = dict(re.findall(r"^from [\w.]+\.(\w+) import (\w+)$", init, re.MULTILINE))
    files = {cls: MODELS / package / "models" / f"{file}.py" for file, cls in files.items()}
    definitions: Schema = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in definitions:
            definitions[one], needed = _class_schema(files[one], files)
            waiting.extend(needed)
    return {"$ref": f"#/$defs/{name}", "$defs": definitions}


def _class_schema(file: Path, own: dict[str, Path]) -> tuple[Schema, list[str]]:
    """Return the closed schema of the class in a file, and the classes of its package that it names."""
    source = file.read_text()
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("openapi_types", "attribute_map")
    }
    needed: list[str] = []
    names = tables["attribute_map"]
    required = set(re.findall(r"Invalid value for `(\w+)`, must not be `None`", source))
    schema = {
        "type": "object",
        "properties": {names[field]: _type(text, own, needed) for field, text in tables["openapi_types"].items()},
        "required": sorted(names[field] for field in required),
        "additionalProperties": False,
    }
    return schema, needed


def _type(text: str, own: dict[str, Path], needed: list[str]) -> Schema:
    if listed := re.fullmatch(r"list\[(.+)\]", text):
        return {"type": "array", "items": _type(listed[1], own, needed)}
    if mapped := re.fullmatch(r"dict\(str, (.+)\)", text):
        return {"type": "object", "additionalProperties": _type(mapped[1], own, needed)}
    if text in SIMPLE:
        return SIMPLE[text]
    if text in own:
        needed.append(text)
        return {"$ref": f"#/$defs/{text}"}
    core = re.fullmatch(r"(?:K8sIoApi([A-Z][a-z]+))?V(\d)([A-Z]\w+)", text)
    endings = [f".{(core[1] or group).lower()}.v{core[2]}.{core[3]}" for group in ("core", "meta")] if core else []
    for title in _core()["$defs"]:
        if title.endswith(tuple(endings)):
            return {"$ref": f"{_core()['$id']}#/$defs/{title}"}
    return {"not": {}, "description": f"The package defines no {text}, so that no value of it can be checked."}
