"""What `seghgan doctor` says: versions, devices, memory, extras, and how to mend what is missing."""

import importlib.util
import os
import platform
from importlib import metadata
from typing import NamedTuple

EXTRAS = {
    "serve": ("grpc", "tensorflow_serving", "orjson", "starlette", "uvicorn", "prometheus_client"),
    "heic": ("pillow_heif",),
    "data": ("skimage", "scipy"),
    "beam": ("apache_beam",),
    "eval": ("skimage",),
}
"""The modules of each extra of the package."""


class Line(NamedTuple):
    """One finding, and the mend where something is missing."""

    what: str
    found: str
    mend: str = ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpus() -> list[Line]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    built = tf.test.is_built_with_cuda()
    mend = (
        ""
        if gpus
        else "to train on an NVIDIA GPU: pip install 'tensorflow[and-cuda]', and a driver that nvidia-smi sees"
    )
    return [Line("GPUs", ", ".join(names) or f"none ({'built' if built else 'not built'} with CUDA)", mend)]


def examine() -> list[Line]:
    """Look at this machine and this installation."""
    from seghgan_tf import __version__
    from seghgan_tf.machine import free_memory

    lines = [
        Line("seghgan-tf", __version__),
        Line("Python", f"{platform.python_version()} on {platform.platform()}"),
        *(Line(name, _version(name)) for name in ("tensorflow", "keras", "keras-hub", "numpy")),
        *_gpus(),
        Line("CPU cores", str(os.cpu_count())),
    ]
    free = free_memory()
    lines.append(Line("memory", "unknown" if free is None else f"{free / 2**30:.1f} GiB may still be used"))
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        mend = f"pip install 'seghgan-tf[{extra}]'" if missing else ""
        lines.append(Line(f"extra {extra}", f"lacks {', '.join(missing)}" if missing else "installed", mend))
    return lines
