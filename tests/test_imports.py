"""Imports point one way, and the command starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = [
    "seghgan_tf.files", "seghgan_tf.machine", "seghgan_tf.doctor", "seghgan_tf.regions", "seghgan_tf.expressions", "seghgan_tf.pictures", "seghgan_tf.xmp", "seghgan_tf.colors", "seghgan_tf.photos", "seghgan_tf.saving",
    "seghgan_tf.frames", "seghgan_tf.detector", "seghgan_tf.html", "seghgan_tf.quiet", "seghgan_tf.progress", "seghgan_tf.config", "seghgan_tf.data", "seghgan_tf.model",
    "seghgan_tf.training", "seghgan_tf.photo_graph", "seghgan_tf.frozen", "seghgan_tf.likeness", "seghgan_tf.signatures", "seghgan_tf.editing", "seghgan_tf.series", "seghgan_tf.edits",
    "seghgan_tf.edit_folder", "seghgan_tf.open_editor", "seghgan_tf.edit_cli", "seghgan_tf.export", "seghgan_tf.litert",
    "seghgan_tf.evaluation", "seghgan_tf.demo", "seghgan_tf.cli",
]  # fmt: skip
"""The floors from the ground up: a module imports its own floor and those before it."""

SERVING = [
    "serving.tensors", "serving.messages", "serving.signature",
    "serving.bundle.ops", "serving.bundle.graph", "serving.bundle.manifest", "serving.bundle.warmup", "serving.bundle.check",
    "serving.bundle", "serving.server", "serving.client", "serving.release", "serving.cli",
]  # fmt: skip
"""The same inside `serving`; server and client do not know each other."""

GROUND = (
    "seghgan_tf.files",
    "seghgan_tf.machine",
    "seghgan_tf.regions",
    "seghgan_tf.expressions",
    "seghgan_tf.photos",
    "seghgan_tf.saving",
    "seghgan_tf.frames",
    "seghgan_tf.quiet",
)
"""What `serving` may use of the model's package."""

LIGHT = [
    "seghgan_tf.cli",
    "seghgan_tf.edit_cli",
    "seghgan_tf.open_editor",
    "seghgan_tf.config",
    "seghgan_tf.regions",
    "seghgan_tf.expressions",
    "seghgan_tf.quiet",
    "tfrecords_tools.cli",
    "serving.cli",
]
MAY_USE_OTHER_PACKAGES = {
    "seghgan_tf.cli",
    "seghgan_tf.edit_cli",
    "seghgan_tf.edits",
    "seghgan_tf.open_editor",
    "seghgan_tf.evaluation.cli",
    "seghgan_tf.evaluation.gate",
    "seghgan_tf.demo.run",
    "seghgan_tf.demo.trials",
    "seghgan_tf.export",
    "seghgan_tf.likeness",
    "seghgan_tf.editing",
}


def modules(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__")


def position(name, order=ORDER):
    found = [i for i, module in enumerate(order) if name == module or name.startswith(module + ".")]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "tree"), list(modules("seghgan_tf")), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_module_imports_only_modules_above_it(name, tree):
    if name == "seghgan_tf":
        return
    own = position(name)
    assert own is not None, f"{name} has no place in ORDER: give it one"
    for imported in imports(tree):
        if imported.startswith("seghgan_tf."):
            other = position(imported)
            assert other is not None, f"{name} imports {imported}, which has no place in ORDER"
            assert other <= own, f"{name} imports {imported}, which stands above it"
        if imported.split(".")[0] in ("serving", "tfrecords_tools"):
            assert name in MAY_USE_OTHER_PACKAGES, f"{name} imports {imported}"


def test_serving_imports_only_its_floors_below_and_the_ground():
    strangers = {"serving.server": "serving.client", "serving.client": "serving.server"}
    for name, tree in modules("serving"):
        if name == "serving":
            continue
        own = position(name, SERVING)
        stranger = strangers.get(".".join(name.split(".")[:2]))
        assert own is not None, f"{name} has no place in SERVING: give it one"
        for imported in imports(tree):
            if imported.split(".")[0] in ("seghgan_tf", "tfrecords_tools"):
                assert imported.startswith(GROUND), f"{name} imports {imported}"
            elif imported.startswith("serving."):
                other = position(imported, SERVING)
                assert other is not None, f"{name} imports {imported}, which has no place in SERVING"
                assert stranger is None or not imported.startswith(stranger), f"{name} imports {imported}"
                assert other <= own, f"{name} imports {imported}, which stands above it"


def test_tfrecords_tools_import_only_the_light_half_of_the_model():
    allowed = (
        "seghgan_tf.regions",
        "seghgan_tf.expressions",
        "seghgan_tf.data",
        "seghgan_tf.detector",
        "seghgan_tf.files",
        "seghgan_tf.machine",
        "seghgan_tf.pictures",
        "seghgan_tf.photos",
        "seghgan_tf.frames",
        "seghgan_tf.html",
        "seghgan_tf.progress",
        "seghgan_tf.quiet",
        "seghgan_tf.__version__",
    )
    for name, tree in modules("tfrecords_tools"):
        for imported in imports(tree):
            if imported.startswith(("seghgan_tf", "serving")):
                assert imported.startswith(allowed), f"{name} imports {imported}"


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_do_not_import_tensorflow(name):
    code = f"import sys, {name}; print([m for m in ('tensorflow', 'keras', 'grpc', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_is_longer_than_can_be_read_in_one_sitting():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for package in ("seghgan_tf", "serving", "tfrecords_tools")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
