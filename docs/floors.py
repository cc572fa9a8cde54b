"""Draw the floors of the house from the imports of its code: `python -m docs.floors` writes them into architecture.md."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("seghgan_tf", "tfrecords_tools", "serving")
BEGIN, END = "<!-- floors: written by python -m docs.floors -->\n", "<!-- end of floors -->\n"

Graph = dict[str, set[str]]


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name and the syntax tree of every module of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__")


def unit(name: str) -> str:
    """Return the folder or module of a package that a dotted name belongs to, `seghgan_tf.model` for example."""
    return ".".join(name.split(".")[:2])


def graph() -> Graph:
    """Return which folders and modules each one imports, itself left out."""
    found: Graph = {}
    for package in PACKAGES:
        for name, tree in modules(package):
            if "." in name:
                used = {unit(one) for one in imports(tree) if one.split(".")[0] in PACKAGES and "." in one}
                found.setdefault(unit(name), set()).update(used - {unit(name)})
    return found


def floors(edges: Graph) -> dict[str, int]:
    """Return the floor of each unit: 0 imports nothing of the three packages, others stand one above what they import.

    Raises graphlib.CycleError, which names the circle, where units import each other.
    """
    order = graphlib.TopologicalSorter(edges)
    order.prepare()
    height: dict[str, int] = {}
    while ready := order.get_ready():
        height |= dict.fromkeys(ready, max(height.values(), default=-1) + 1)
        order.done(*ready)
    return height


def direct(edges: Graph) -> Graph:
    """Leave out what a unit also reaches through another, so that the picture can be read."""

    def below(name: str) -> set[str]:
        return {deeper for target in edges.get(name, ()) for deeper in {target, *below(target)}}

    return {
        name: {target for target in targets if not any(target in below(other) for other in targets - {target})}
        for name, targets in edges.items()
    }


def picture(edges: Graph) -> str:
    """Return the floors as a table, the highest first, and the imports between them as a Mermaid chart."""
    height, lines = (
        floors(edges),
        ["| floor | " + " | ".join(f"`{package}`" for package in PACKAGES) + " |", "|---|---|---|---|"],
    )
    for floor in range(max(height.values()), -1, -1):
        cells = [
            " ".join(
                sorted(name.split(".")[1] for name in edges if name.startswith(f"{package}.") and height[name] == floor)
            )
            for package in PACKAGES
        ]
        lines.append(f"| {floor} | " + " | ".join(cells) + " |")
    lines += ["", "```mermaid", "flowchart TB"]
    for package in PACKAGES:
        own = sorted((name for name in edges if name.startswith(f"{package}.")), key=lambda name: (-height[name], name))
        lines += [f"  subgraph {package}", *(f'    {name}["{name.split(".")[1]}"]' for name in own), "  end"]
    lines += [f"  {name} --> {target}" for name, targets in sorted(direct(edges).items()) for target in sorted(targets)]
    return "\n".join([*lines, "```", ""])


def page(text: str) -> str:
    """Return the page with the picture of today's imports in it."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + picture(graph()) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
