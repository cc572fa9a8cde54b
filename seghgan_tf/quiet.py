"""TensorFlow starts without its page of C++ messages: they are held while it is imported, and shown only where that fails."""

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def held(show: bool = False) -> Iterator[None]:
    """Hold back what anything, C++ included, writes to file descriptor 2; write it after all where the block fails or `show`.

    >>> with held():
    ...     _ = os.write(2, b"a thousand lines")
    """
    with contextlib.suppress(OSError):  # a full disk under the log stops nothing
        sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            show = True
            raise
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            with contextlib.suppress(OSError):
                while show and (part := file.read(1 << 16)):
                    os.write(2, part)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage, then or later, in what is made here: what an import makes stays, and looking takes a sixth of its time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def start_tensorflow(debug: bool = False) -> None:
    """Import TensorFlow and look for its devices, once; what it says about that is held back unless `debug`.

    What it logs later is bounded by TF_CPP_MIN_LOG_LEVEL (3 where it is not set: optimizers of graphs report as errors what they merely leave out). Raises ImportError with
    everything that was held written out.

    oneDNN's convolutions are asked for on every processor (`TF_ENABLE_ONEDNN_OPTS=0` for TensorFlow's own): without AVX-512 TensorFlow leaves them out, and an edit takes half as long again.
    """
    if "tensorflow" in sys.modules:
        return
    debug = debug or "--debug" in sys.argv
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    with held(show=debug), _uncollected():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.list_physical_devices()
    if not debug:
        tensorflow.get_logger().setLevel("ERROR")
