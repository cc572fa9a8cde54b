"""What the tests of the manifests share: exports of a stand-in model, and every built target, each built once."""

import copy
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8s.validate import build
from seghgan_tf.files import sha256

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with versions 1 and 2 of a stand-in model of 32 px, which brighten by 0.5 and 0.25."""
    from fake_export import write_export

    folder = tmp_path_factory.mktemp("exports")
    write_export(folder, 1, strength=0.5)
    write_export(folder, 2, strength=0.25)
    return folder


@pytest.fixture(scope="session")
def built() -> Callable[[str], list[dict[str, Any]]]:
    """Return a copy of a target's resources, which is built once."""
    kept = functools.cache(build)
    return lambda target: copy.deepcopy(kept(target))


@pytest.fixture
def whole_export(tmp_path: Path) -> Path:
    """Version 1 in a folder of its own: small files under a manifest that agrees with them, with figures."""
    model = {
        "image_size": 32,
        "regions": ["eyes"],
        "classes": ["background"],
        "label_order": "celebamask",
        "expression": {"labels": ["AU12"], "low": 0.0, "high": 5.0, "scale": 5.0, "one_hot": False},
        "max_pixels": 1,
    }
    folder = tmp_path / "exports" / "1"
    (folder / "variables").mkdir(parents=True)
    names = ("saved_model.pb", "variables/variables.index")
    for name in names:
        (folder / name).write_bytes(name.encode())
    files = {name: sha256(folder / name) for name in names}
    training = {"figures": {"miou": 0.86, "error_ratio": 0.64}}
    manifest = {
        "manifest_version": 1,
        "model": model,
        "signatures": {},
        "ops": [],
        "files": files,
        "training": training,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
