"""One loaded version of a model: verified, batched, warmed up, ready to run."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from seghgan_tf.machine import cores
from serving import tensors
from serving.bundle.check import check_export
from serving.bundle.warmup import read_warmup
from serving.server.batching import BATCH_SIZE, Batching, batched
from serving.server.errors import ServingError, invalid
from serving.signature import Signature, Spec, from_definitions

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
"""TensorFlow and gRPC number their status codes alike."""


class Endpoint:
    """A signature of a loaded version, which may be run from many threads: by itself, and batched where it can be.

    `examples` counts the examples that ran by the size of the batch they ran in.
    """

    def __init__(
        self, name: str, signature: Signature, direct: Callable[..., Any], together: Callable[..., Any] | None
    ):
        self.name = name
        self.signature = signature
        self.examples: Counter[int] = Counter()
        self._direct = direct
        self._together = together

    def check(self, inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = ()) -> None:
        """Raise INVALID_ARGUMENT unless names, dtypes and shapes are the signature's and the batch is one."""
        wanted, outputs = self.signature
        if set(inputs) != set(wanted):
            extra, missing = sorted(set(inputs) - set(wanted)), sorted(set(wanted) - set(inputs))
            raise invalid(
                f"`{self.name}` needs other inputs. Sent extra: {_short(extra)}. Missing but required: {missing}"
            )
        for name, spec in wanted.items():
            _check_input(name, inputs[name], spec)
        batches = {name: len(array) for name, array in inputs.items()}
        if len(set(batches.values())) > 1:
            raise invalid(f"Every input must have the same batch size. Received: {batches}")
        if not next(iter(batches.values())):
            raise invalid("A batch must have at least one example. Received: an empty batch")
        if unknown := [name for name in output_filter if name not in outputs]:
            raise invalid(
                f"output_filter must name outputs of `{self.name}`, {sorted(outputs)}. Received: {_short(unknown)}"
            )
        if len(set(output_filter)) != len(output_filter):
            raise invalid(f"output_filter must not name an output twice. Received: {_short(list(output_filter))}")

    def run(self, inputs: dict[str, np.ndarray], alone: bool = False) -> dict[str, np.ndarray]:
        """Run the signature on checked inputs and return its outputs; ServingError where the graph refuses them.

        `alone` says that nothing else runs, so that waiting for a batch would be in vain. A request that the graph
        refuses fails alone: what was batched with it is run again by itself.
        """
        if alone or self._together is None:
            return self._run(self._direct, inputs)
        try:
            outputs = self._run(self._together, inputs, BATCH_SIZE)
        except ServingError as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return self._run(self._direct, inputs)
        sizes = outputs.pop(BATCH_SIZE)
        self.examples[int(sizes[0])] += len(sizes)
        return outputs

    def _run(self, call: Callable[..., Any], inputs: dict[str, np.ndarray], *more: str) -> dict[str, np.ndarray]:
        wanted, outputs = self.signature
        try:
            return dict(zip((*outputs, *more), call(*(inputs[name] for name in wanted)), strict=True))
        except UnicodeDecodeError as error:  # TensorFlow quotes the bytes it could not decode
            raise invalid(f"`{next(iter(wanted))}` cannot be read: its bytes are not what they claim to be.") from error
        except tf.errors.UnavailableError as error:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "The batch queue is full. Try again later."
            ) from error
        except tf.errors.OpError as error:
            raise ServingError(_STATUS.get(error.error_code, grpc.StatusCode.INTERNAL), error.message or "") from error


class Servable:
    """A version of a model in memory.

    Loading checks the manifest and the contract (ValueError where they are not kept) and replays the warmup requests,
    so that a servable that exists can serve. `batching=None` runs each request by itself.
    """

    def __init__(self, name: str, version: int, folder: Path, batching: Batching | None, warmup: bool = True) -> None:
        self.manifest = check_export(folder)
        self.name = name
        self.version = version
        self._batching = batching
        self._graph = tf.Graph()
        threads = cores()
        options = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        options.gpu_options.allow_growth = True
        # Rewriting the graphs makes no call cheaper here, and takes a quarter to a half of the time to load a version.
        options.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.compat.v1.Session(graph=self._graph, config=options)
        try:
            self.definitions = dict(self._load(folder).signature_def)
            self.endpoints = {
                key: self._endpoint(key, signature) for key, signature in from_definitions(self.definitions).items()
            }
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

    def _endpoint(self, key: str, signature: Signature) -> Endpoint:
        definition, tensor = self.definitions[key], self._graph.get_tensor_by_name
        try:
            feeds = {name: tensor(definition.inputs[name].name) for name in signature.inputs}
            fetches = {name: tensor(definition.outputs[name].name) for name in signature.outputs}
        except (KeyError, ValueError) as error:
            raise ValueError(f"`{key}` must name tensors of its graph ({error}).") from error
        together = None
        if self._batching is not None:
            with self._graph.as_default():
                together = batched(feeds, fetches, key, self._batching)
        batch = None if together is None else self._callable(feeds, together)
        return Endpoint(key, signature, self._callable(feeds, fetches), batch)

    def _callable(self, feeds: dict[str, Any], fetches: dict[str, Any]) -> Callable[..., Any]:
        """Return a function of arrays; what Session.make_callable returns spends 0.3 ms of Python on every call."""
        sides = {"feed": feeds, "fetch": fetches}
        names = {side: [tensor.name for tensor in each.values()] for side, each in sides.items()}
        run: Callable[..., Any] = self._session._make_callable_from_options(config_pb2.CallableOptions(**names))
        return run

    def close(self) -> None:
        """Give the memory back; nothing may be run any more."""
        self._session.close()

    def _warm_up(self, folder: Path) -> None:
        for request in read_warmup(folder):
            inputs = {key: tensors.decode(proto) for key, proto in request.inputs.items()}
            try:
                endpoint = self.endpoint(request.model_spec.signature_name)
                endpoint.check(inputs)
                outputs = endpoint.run(inputs)
            except ServingError as error:
                raise ValueError(f"The warmup requests must run ({error.message}). Received: {folder}") from error
            for name, array in outputs.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise ValueError(f"The answers to the warmup requests must be finite. Received: NaN in `{name}`")

    def endpoint(self, key: str) -> Endpoint:
        """Return a signature by its name, `serving_default` where that is empty; FAILED_PRECONDITION where there is none."""
        key = key or "serving_default"
        if key not in self.endpoints:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{key[:100]}" not found. The model has {sorted(self.endpoints)}',
            )
        return self.endpoints[key]

    def examples(self) -> dict[tuple[str, int], int]:
        """Return how many examples ran, by (signature, size of the batch they ran in)."""
        return {(key, size): n for key, one in self.endpoints.items() for size, n in dict(one.examples).items()}


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
