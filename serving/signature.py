"""The export contract: which signatures a served model has, and the check that a SavedModel keeps it.

An export is a folder `EXPORT/<version>/` that TensorFlow Serving and the embedded server both load. Every input has
the batch dimension first, so that requests can be batched; every input must be fed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle.ops import ALLOWED, SAVER

REGIONS = ("whole", "eyes", "nose", "mouth")
"""Columns of `regions`: 1 where the edit may change the picture; `whole` lifts every limit."""

ADDED = frozenset({"labels"})
"""Signatures that exports of earlier versions lack; they are served without them."""

INIT_SIGNATURE = "__saved_model_init_op"


class Spec(NamedTuple):
    """A tensor's dtype (numpy's name; `bytes` for strings) and shape; None is any size."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """A signature's inputs and outputs by name."""

    inputs: dict[str, Spec]
    outputs: dict[str, Spec]


def signatures(image_size: int, expression_size: int, regions: int = len(REGIONS)) -> dict[str, Signature]:
    """Return every signature of a model for images of `image_size` px and expressions of `expression_size` numbers.

    `regions` counts the columns of the regions input, `whole` included.

    >>> signatures(64, 17)["segment"].outputs["labels"]
    Spec(dtype='uint8', shape=(None, 64, 64))
    """
    side = image_size
    image = Spec("float32", (None, side, side, 3))
    pixels = Spec("uint8", (None, side, side, 3))
    expression = Spec("float32", (None, expression_size))
    asked = {"expression": expression, "regions": Spec("float32", (None, regions))}
    one = (None,)
    return {
        "serving_default": Signature(
            {"image": image, **asked}, {"edited": image, "attention": Spec("float32", (None, side, side, 1))}
        ),
        "serving_uint8": Signature({"image": pixels, **asked}, {"edited": pixels}),
        "edit_bytes": Signature(
            {"image_bytes": Spec("bytes", one), **asked, "jpeg_quality": Spec("int32", one)},
            {"edited_bytes": Spec("bytes", one)},
        ),
        "segment": Signature(
            {"image": image},
            {
                "labels": Spec("uint8", (None, side, side)),
                "regions": Spec("float32", (None, side, side, regions - 1)),
            },
        ),
        "analyze": Signature({"image": image}, {"expression": expression}),
        "labels": Signature({"expression": expression}, {"labels": Spec("bytes", expression.shape)}),
    }


def message_bytes(image_size: int, batch: int = 8) -> int:
    """Return the message limit both sides use: `batch` float images or one photo of 32 MiB, and 1 MiB of room.

    >>> message_bytes(128) >> 20
    33
    """
    return max(batch * image_size * image_size * 3 * 4, 32 << 20) + (1 << 20)


def read_graph(folder: Path) -> Any:
    """Return the one MetaGraphDef (tag `serve`) of the SavedModel in `folder`; ValueError where there is none."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = Path(folder) / "saved_model.pb"
    try:
        graphs = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    except (OSError, DecodeError) as error:
        raise ValueError(f"`folder` must hold a readable saved_model.pb ({error}). Received: {folder}") from error
    served = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    if len(served) != 1:
        raise ValueError(f"saved_model.pb must hold one graph tagged `serve`. Received: {len(served)} in {folder}")
    return served[0]


def _spec(info: Any) -> Spec:
    import tensorflow as tf

    dtype = "bytes" if info.dtype == tf.string.as_datatype_enum else tf.as_dtype(info.dtype).name
    return Spec(dtype, tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim))


def graph_signatures(graph: Any) -> dict[str, Signature]:
    """Return the signatures of a MetaGraphDef, TensorFlow's own init signature left out."""
    return {
        name: Signature(
            {key: _spec(info) for key, info in sorted(definition.inputs.items())},
            {key: _spec(info) for key, info in sorted(definition.outputs.items())},
        )
        for name, definition in sorted(graph.signature_def.items())
        if name != INIT_SIGNATURE
    }


def graph_ops(graph: Any) -> list[str]:
    """Return the names of all operations of a MetaGraphDef and its functions, sorted."""
    nodes = {node.op for node in graph.graph_def.node}
    return sorted(nodes | {node.op for function in graph.graph_def.library.function for node in function.node_def})


def check_signatures(found: dict[str, Signature], expected: dict[str, Signature]) -> None:
    """Raise ValueError unless the signatures are the expected ones.

    Inputs must agree exactly; an output's dimension may be left open where the graph cannot know it.
    """
    if set(found) | ADDED != set(expected) | ADDED:
        raise ValueError(f"An export must have the signatures {sorted(expected)}. Received: {sorted(found)}")
    for name, signature in ((name, one) for name, one in expected.items() if name in found):
        for side, wanted, got in (
            ("input", signature.inputs, found[name].inputs),
            ("output", signature.outputs, found[name].outputs),
        ):
            if set(wanted) != set(got):
                raise ValueError(f"`{name}` must have the {side}s {sorted(wanted)}. Received: {sorted(got)}")
            for key, spec in wanted.items():
                if not _fits(got[key], spec, exact=side == "input"):
                    raise ValueError(f"`{name}` {side} `{key}` must be {spec}. Received: {got[key]}")


def _fits(got: Spec, wanted: Spec, exact: bool) -> bool:
    if exact:
        return got == wanted
    if got.dtype != wanted.dtype:
        return False
    if not got.shape:
        return True
    pairs = zip(got.shape, wanted.shape, strict=False)
    return len(got.shape) == len(wanted.shape) and all(mine is None or mine == theirs for mine, theirs in pairs)


def check_ops(graph: Any) -> None:
    """Raise ValueError where the graph holds an operation that is not on the allow-list.

    What a signature (or the init signature) reaches must be in `serving.bundle.ops.ALLOWED`; the rest, which saves and
    restores variables, may use `serving.bundle.ops.SAVER` besides.
    """
    reached = set(_reached(graph))
    if forbidden := sorted(reached - ALLOWED):
        raise ValueError(
            f"A served graph may not hold the operations {forbidden}: only mathematics, images and control flow are "
            "allowed, so that a model cannot read files, open connections or run Python."
        )
    if forbidden := sorted(set(graph_ops(graph)) - ALLOWED - SAVER):
        raise ValueError(f"A SavedModel may not hold the operations {forbidden}, not even outside its signatures.")


def _reached(graph: Any) -> Iterator[str]:
    nodes = {node.name: node for node in graph.graph_def.node}
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    infos = [info for one in graph.signature_def.values() for info in one.outputs.values()]
    waiting = [nodes[info.name.split(":")[0]] for info in infos if info.name.split(":")[0] in nodes]
    seen: set[str] = set()
    seen_functions: set[str] = set()
    while waiting:
        node = waiting.pop()
        yield node.op
        for attribute in node.attr.values():
            for call in (attribute.func, *attribute.list.func):
                if call.name in functions and call.name not in seen_functions:
                    seen_functions.add(call.name)
                    waiting.extend(functions[call.name].node_def)
        for name in node.input:
            source = name.lstrip("^").split(":")[0]
            if source in nodes and source not in seen and nodes[source] is not node:
                seen.add(source)
                waiting.append(nodes[source])


def check_export(folder: Path | str) -> None:
    """Check an export's manifest, hashes, signatures and operations; ValueError names the first thing that is wrong."""
    from serving.bundle import manifest as bundle

    manifest = bundle.verify(Path(folder))
    graph = read_graph(Path(folder))
    model = manifest["model"]
    expected = signatures(model["image_size"], len(model["expression"]["labels"]), len(model["regions"]))
    check_signatures(graph_signatures(graph), expected)
    check_ops(graph)
    if manifest["ops"] != graph_ops(graph):
        raise ValueError(f"manifest.json must list the operations of the graph. Received another list in {folder}")
