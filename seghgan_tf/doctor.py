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
    "gpu": ("nvidia.cudnn", "nvidia.cublas", "nvidia.cuda_runtime"),
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


def lacking(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed.

    >>> lacking("serve")
    []
    """
    return [module for module in EXTRAS[extra] if not _is_there(module)]


def _is_there(module: str) -> bool:
    package, _, inner = module.partition(".")
    return importlib.util.find_spec(package) is not None and (not inner or importlib.util.find_spec(module) is not None)


def installs(extra: str) -> str:
    """Return the command, in a checkout, that installs an extra."""
    return f"pip install '.[{extra}]' in the checkout"


def require(module: str, extra: str, what: str) -> None:
    """Raise ImportError that names the extra whose module is not there, before `what` begins and ends in the middle."""
    if not _is_there(module):
        raise ImportError(f"{what} needs {module}, of the extra {extra}: {installs(extra)}")


def gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow sees."""
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found]


def _gpus(names: list[str]) -> Line:
    import tensorflow as tf

    built = "built" if tf.test.is_built_with_cuda() else "not built"
    mend = "" if names else f"to train on an NVIDIA GPU: {installs('gpu')}, and a driver that nvidia-smi sees"
    return Line("GPUs", ", ".join(names) or f"none ({built} with CUDA)", mend)


def examine() -> list[Line]:
    """Look at this machine and this installation."""
    from seghgan_tf import __version__
    from seghgan_tf.machine import free_memory

    names = gpus()
    lines = [
        Line("seghgan-tf", __version__),
        Line("Python", f"{platform.python_version()} on {platform.platform()}"),
        *(Line(name, _version(name)) for name in ("tensorflow", "keras", "keras-hub", "numpy")),
        _gpus(names),
        Line("CPU cores", str(os.cpu_count())),
    ]
    free = free_memory()
    lines.append(Line("memory", "unknown" if free is None else f"{free / 2**30:.1f} GiB may still be used"))
    for extra in EXTRAS:
        missing = lacking(extra)
        mend = installs(extra) if missing and not (extra == "gpu" and names) else ""
        lines.append(Line(f"extra {extra}", f"lacks {', '.join(missing)}" if missing else "installed", mend))
    return lines
