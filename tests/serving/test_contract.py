"""An export keeps the contract, or is refused with the reason."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from serving.bundle.check import check_export, check_ops, check_signatures
from serving.bundle.graph import read_graph
from serving.bundle.manifest import read_manifest, verify
from serving.bundle.warmup import WARMUP, read_warmup
from serving.signature import Spec, signatures


def test_an_export_that_keeps_the_contract_passes(export_v1: Path) -> None:
    check_export(export_v1)


def test_the_manifest_describes_model_signatures_operations_and_files(export_v1: Path) -> None:
    manifest = read_manifest(export_v1)
    assert manifest["manifest_version"] == 1
    assert manifest["package"] == "seghgan-tf"
    assert manifest["signatures"]["analyze"]["outputs"]["expression"] == {"dtype": "float32", "shape": [None, 3]}
    assert set(manifest["files"]) >= {"saved_model.pb", WARMUP.as_posix()}
    assert "MatMul" not in manifest["ops"]
    assert "DecodePng" in manifest["ops"]


def test_the_saved_model_runs_where_our_packages_cannot_be_imported(export_v1: Path) -> None:
    code = f"""
import sys
sys.path = [entry for entry in sys.path if "site-packages" in entry or "python3" in entry]
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("serving", "seghgan_tf", "tfrecords_tools"): raise ImportError(name)
sys.meta_path.insert(0, Block())
import tensorflow as tf
model = tf.saved_model.load({str(export_v1)!r})
image = tf.zeros((2, 32, 32, 3))
out = model.signatures["serving_default"](image=image, expression=tf.ones((2, 3)), regions=tf.constant([[0., 0, 0, 1]] * 2))
print(float(out["edited"][0, 0, 0, 0]), float(out["edited"][1, -1, 0, 0]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["0.0", "0.5"], ran.stderr[-500:]


def test_warmup_covers_every_signature_in_several_batch_sizes(export_v1: Path) -> None:
    seen = {
        (request.model_spec.signature_name, next(iter(request.inputs.values())).tensor_shape.dim[0].size)
        for request in read_warmup(export_v1)
    }
    assert seen == {(name, size) for name in signatures(32, 3) for size in (1, 2, 4, 8)}


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_changed_byte_is_refused(export: Path, name: str) -> None:
    path = export / "1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"does not have the SHA-256"):
        verify(export / "1")


def test_missing_and_unlisted_files_are_refused(export: Path) -> None:
    (export / "1" / "extra.txt").write_text("x")
    with pytest.raises(ValueError, match=r"does not list: \['extra.txt'\]"):
        verify(export / "1")
    (export / "1" / "extra.txt").unlink()
    (export / "1" / "saved_model.pb").unlink()
    with pytest.raises(ValueError, match=r"lacks \['saved_model.pb'\]"):
        verify(export / "1")


def test_symbolic_links_are_refused(export: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (export / "1" / "fingerprint.pb").rename(target)
    (export / "1" / "fingerprint.pb").symlink_to(target)
    with pytest.raises(ValueError, match="symbolic links"):
        verify(export / "1")


@pytest.mark.parametrize("name", ["../2/saved_model.pb", "/etc/hostname", "a/../../b", "..\\x"])
def test_names_that_leave_the_folder_are_refused(export: Path, name: str) -> None:
    path = export / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="inside the export"):
        verify(export / "1")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"manifest_version": 2}', '{"manifest_version": 1}'])
def test_a_broken_manifest_is_refused(export: Path, text: str) -> None:
    (export / "1" / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json"):
        verify(export / "1")


def _save(folder: Path, function: tf.types.experimental.GenericFunction, *specs: tf.TensorSpec) -> Path:
    module = tf.Module()
    module.function = function
    tf.saved_model.save(module, str(folder), signatures=function.get_concrete_function(*specs))
    return folder


FORBIDDEN = {
    "ReadFile": lambda name: tf.io.read_file(name),
    "WriteFile": lambda name: (tf.io.write_file(name, "x"), name)[1],
    "MatchingFiles": lambda name: tf.io.matching_files(name),
    "PyFunc": lambda name: tf.numpy_function(lambda text: text, [name], tf.string, stateful=False),
    "EagerPyFunc": lambda name: tf.py_function(lambda text: text, [name], tf.string),
    "PrintV2": lambda name: (tf.print(name), name)[1],
    "SaveV2": lambda name: (
        tf.raw_ops.SaveV2(prefix=name, tensor_names=["a"], shape_and_slices=[""], tensors=[1]),
        name,
    )[1],
    "RestoreV2": lambda name: tf.raw_ops.RestoreV2(
        prefix=name, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.string]
    )[0],
}


@pytest.mark.parametrize("operation", sorted(FORBIDDEN))
def test_operations_that_reach_files_or_python_are_refused(tmp_path: Path, operation: str) -> None:
    function = tf.function(lambda name: {"out": FORBIDDEN[operation](name)}, autograph=False)
    folder = _save(tmp_path / "1", function, tf.TensorSpec((), tf.string, "name"))
    with pytest.raises(ValueError, match=rf"may not hold the operations .*{operation}"):
        check_ops(read_graph(folder))


def test_forbidden_operations_hide_in_no_branch(tmp_path: Path) -> None:
    def branch(name: tf.Tensor) -> dict:
        return {"out": tf.cond(tf.strings.length(name) > 3, lambda: tf.io.read_file(name), lambda: name)}

    folder = _save(tmp_path / "1", tf.function(branch, autograph=False), tf.TensorSpec((), tf.string, "name"))
    with pytest.raises(ValueError, match="ReadFile"):
        check_ops(read_graph(folder))


def test_other_signatures_names_shapes_and_dtypes_are_refused() -> None:
    good = signatures(32, 3)
    with pytest.raises(ValueError, match="must have the signatures"):
        check_signatures({"serving_default": good["serving_default"]}, good)
    image = Spec("float32", (1, 32, 32, 3))
    with pytest.raises(ValueError, match=r"`analyze` input `image` must be"):
        check_signatures(good | {"analyze": good["analyze"]._replace(inputs={"image": image})}, good)
    doubled = {"expression": Spec("float64", (None, 3))}
    with pytest.raises(ValueError, match=r"`analyze` output `expression` must be"):
        check_signatures(good | {"analyze": good["analyze"]._replace(outputs=doubled)}, good)
    with pytest.raises(ValueError, match=r"`analyze` must have the outputs"):
        check_signatures(good | {"analyze": good["analyze"]._replace(outputs={})}, good)
    open_shape = {"expression": Spec("float32", (None, None))}
    check_signatures(good | {"analyze": good["analyze"]._replace(outputs=open_shape)}, good)
