"""One loaded version of a model: verified, batched, warmed up, ready to run."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from serving import tensors
from serving.bundle.check import check_export
from serving.bundle.warmup import read_warmup
from serving.server.batching import BATCH_SIZE, Batching, batched
from serving.server.errors import ServingError, invalid
from serving.signature import Signature, Spec, from_definitions

_STATUS = {number: code for code in grpc.StatusCode for number in [code.value[0]]}
"""TensorFlow and gRPC number their status codes alike."""


class _Calls(NamedTuple):
    """How a signature is run: the order of its inputs and outputs, by itself, and batched where it can be."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    direct: Callable[..., Any]
    together: Callable[..., Any] | None


class Servable:
    """A version of a model in memory; `run` may be called from many threads.

    Loading checks the manifest and the contract (ValueError where they are not kept) and replays the warmup requests,
    so that a servable that exists can serve. `batching=None` runs each request by itself.
    """

    def __init__(self, name: str, version: int, folder: Path, batching: Batching | None, warmup: bool = True) -> None:
        self.manifest = check_export(folder)
        self.name = name
        self.version = version
        self._batching = batching
        self._examples: Counter[tuple[str, int]] = Counter()
        self._graph = tf.Graph()
        options = tf.compat.v1.ConfigProto()
        options.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=self._graph, config=options)
        try:
            meta = self._load(folder)
            self.definitions = dict(meta.signature_def)
            self.signatures = from_definitions(self.definitions)
            self._calls = {key: self._callables(key, meta.signature_def[key]) for key in self.signatures}
            if warmup:
                self._warm_up(folder)
        except BaseException:
            self._session.close()
            raise

    def _load(self, folder: Path) -> Any:
        try:
            with self._graph.as_default():
                return tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        except (tf.errors.OpError, OSError, KeyError, AttributeError, TypeError, RuntimeError) as error:
            raise ValueError(f"The SavedModel must be loadable ({error}). Received: {folder}") from error

    def _callables(self, key: str, definition: Any) -> _Calls:
        tensor = self._graph.get_tensor_by_name
        feeds = {name: tensor(info.name) for name, info in sorted(definition.inputs.items())}
        fetches = {name: tensor(info.name) for name, info in sorted(definition.outputs.items())}
        feed = list(feeds.values())
        direct = self._callable(feed, list(fetches.values()))
        together = None
        if self._batching is not None:
            with self._graph.as_default():
                outputs = batched(feeds, fetches, key, self._batching)
            if outputs is not None:
                together = self._callable(feed, list(outputs.values()))
        return _Calls(tuple(feeds), tuple(fetches), direct, together)

    def _callable(self, feed: list[Any], fetch: list[Any]) -> Callable[..., Any]:
        """Return a function of arrays; what Session.make_callable returns spends 0.3 ms of Python on every call."""
        names = {"feed": [tensor.name for tensor in feed], "fetch": [tensor.name for tensor in fetch]}
        run: Callable[..., Any] = self._session._make_callable_from_options(config_pb2.CallableOptions(**names))
        return run

    def close(self) -> None:
        """Give the memory back; `run` may not be called any more."""
        self._session.close()

    def _warm_up(self, folder: Path) -> None:
        for request in read_warmup(folder):
            inputs = {key: tensors.decode(proto) for key, proto in request.inputs.items()}
            try:
                key = request.model_spec.signature_name or "serving_default"
                self.check(key, inputs)
                outputs = self.run(key, inputs)
            except ServingError as error:
                raise ValueError(f"The warmup requests must run ({error.message}). Received: {folder}") from error
            for name, array in outputs.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise ValueError(f"The answers to the warmup requests must be finite. Received: NaN in `{name}`")

    def signature(self, key: str) -> Signature:
        """Return a signature's specs; FAILED_PRECONDITION where the model has no such signature."""
        if key not in self.signatures:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{key[:100]}" not found. The model has {sorted(self.signatures)}',
            )
        return self.signatures[key]

    def examples(self) -> dict[tuple[str, int], int]:
        """Return how many examples ran, by (signature, size of the batch they ran in)."""
        return dict(self._examples)

    def check(self, key: str, inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = ()) -> None:
        """Raise INVALID_ARGUMENT unless names, dtypes and shapes are the signature's and the batch is one."""
        signature = self.signature(key)
        if set(inputs) != set(signature.inputs):
            extra, missing = sorted(set(inputs) - set(signature.inputs)), sorted(set(signature.inputs) - set(inputs))
            raise invalid(f"`{key}` needs other inputs. Sent extra: {_short(extra)}. Missing but required: {missing}")
        for name, spec in signature.inputs.items():
            _check_input(name, inputs[name], spec)
        batches = {name: len(array) for name, array in inputs.items()}
        if len(set(batches.values())) > 1:
            raise invalid(f"Every input must have the same batch size. Received: {batches}")
        if not next(iter(batches.values())):
            raise invalid("A batch must have at least one example. Received: an empty batch")
        if unknown := [name for name in output_filter if name not in signature.outputs]:
            raise invalid(
                f"output_filter must name outputs of `{key}`, {sorted(signature.outputs)}. Received: {_short(unknown)}"
            )
        if len(set(output_filter)) != len(output_filter):
            raise invalid(f"output_filter must not name an output twice. Received: {_short(list(output_filter))}")

    def run(self, key: str, inputs: dict[str, np.ndarray], alone: bool = False) -> dict[str, np.ndarray]:
        """Run a signature on checked inputs and return its outputs; ServingError where the graph refuses them.

        `alone` says that nothing else runs, so that waiting for a batch would be in vain. A request that the graph refuses fails alone: what was batched with it is run again by itself.
        """
        calls = self._calls[key]
        if alone or calls.together is None:
            return self._run(calls, calls.direct, inputs)
        try:
            outputs = self._run(calls, calls.together, inputs)
        except ServingError as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return self._run(calls, calls.direct, inputs)
        sizes = outputs.pop(BATCH_SIZE)
        self._examples[key, int(sizes[0])] += len(sizes)
        return outputs

    def _run(self, calls: _Calls, call: Callable[..., Any], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = calls.outputs if call is calls.direct else (*calls.outputs, BATCH_SIZE)
        try:
            return dict(zip(names, call(*(inputs[name] for name in calls.inputs)), strict=True))
        except UnicodeDecodeError as error:  # TensorFlow quotes the bytes it could not decode
            raise invalid(f"`{calls.inputs[0]}` cannot be read: its bytes are not what they claim to be.") from error
        except tf.errors.UnavailableError as error:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "The batch queue is full. Try again later."
            ) from error
        except tf.errors.OpError as error:
            raise ServingError(_STATUS.get(error.error_code, grpc.StatusCode.INTERNAL), error.message or "") from error


def _short(names: list[str]) -> str:
    shown = [name[:60] for name in names[:10]]
    return f"{shown}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _check_input(name: str, array: np.ndarray, spec: Spec) -> None:
    dtype = "bytes" if array.dtype == object else array.dtype.name
    if dtype != spec.dtype:
        raise invalid(f"`{name}` must be {spec.dtype}. Received: {dtype}")
    shape = array.shape
    fits = len(shape) == len(spec.shape) and all(w is None or w == s for w, s in zip(spec.shape, shape, strict=True))
    if not fits:
        wanted = tuple("N" if size is None else size for size in spec.shape)
        raise invalid(f"`{name}` must have shape {wanted}. Received: {shape}")
