"""The check that an export keeps the contract: its files, signatures and operations."""

from pathlib import Path
from typing import Any

from serving.bundle.graph import graph_ops, reached_ops, read_graph
from serving.bundle.manifest import verify
from serving.bundle.ops import ALLOWED, SAVER
from serving.signature import ADDED, ADDED_INPUTS, Signature, Spec, from_definitions, model_signatures


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
            lacking = ADDED_INPUTS - set(got) if side == "input" else set()
            if set(wanted) - lacking != set(got):
                raise ValueError(f"`{name}` must have the {side}s {sorted(wanted)}. Received: {sorted(got)}")
            for key, spec in wanted.items():
                if key not in lacking and not _fits(got[key], spec, exact=side == "input"):
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
    reached = set(reached_ops(graph))
    if forbidden := sorted(reached - ALLOWED):
        raise ValueError(
            f"A served graph may not hold the operations {forbidden}: only mathematics, images and control flow are "
            "allowed, so that a model cannot read files, open connections or run Python."
        )
    if forbidden := sorted(set(graph_ops(graph)) - ALLOWED - SAVER):
        raise ValueError(f"A SavedModel may not hold the operations {forbidden}, not even outside its signatures.")


def check_export(folder: Path | str) -> dict[str, Any]:
    """Check an export's manifest, hashes, signatures and operations, and return the manifest.

    ValueError names the first thing that is wrong.
    """
    manifest = verify(folder)
    graph = read_graph(Path(folder))
    check_signatures(from_definitions(graph.signature_def), model_signatures(manifest["model"]))
    check_ops(graph)
    if manifest["ops"] != graph_ops(graph):
        raise ValueError(f"manifest.json must list the operations of the graph. Received another list in {folder}")
    return manifest
