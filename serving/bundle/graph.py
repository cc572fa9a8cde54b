"""A SavedModel's graph, read without loading it: its signatures and its operations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


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


def graph_ops(graph: Any) -> list[str]:
    """Return the names of all operations of a MetaGraphDef and its functions, sorted."""
    nodes = {node.op for node in graph.graph_def.node}
    return sorted(nodes | {node.op for function in graph.graph_def.library.function for node in function.node_def})


def reached_ops(graph: Any) -> Iterator[str]:
    """Yield the operations that a signature, or the init signature, reaches."""
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
