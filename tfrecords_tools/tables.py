"""CSV tables, read strictly and row by row: what is no table is an error that names its line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

SURPLUS = "more cells than columns"
"""Key under which a row keeps what it has beyond the header; a decimal comma does that."""


def read_table(path: Path, needed: Sequence[str] = ()) -> tuple[list[str], Iterator[dict[str, str]]]:
    """Return a CSV file's header and its rows, read as they are asked for; cells that a short row lacks are empty.

    Bytes that are no UTF-8 come as `os.fsdecode` has them, so that file names in any encoding fit. Raises ValueError for a table without
    the `needed` columns and, at the row in question, for a quote left open or a cell of over 128 KB.
    """
    lines = _lines(path)
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(
            f"`{path}` must be a CSV file with {'a column' if len(missing) == 1 else 'the columns'} {', '.join(missing)}. "
            f"Received: {', '.join(header)[:200] or 'an empty file'}"
        )
    return header, (_row(header, cells) for cells in lines if cells)


def _row(header: Sequence[str], cells: list[str]) -> dict[str, str]:
    row = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
    if surplus := ",".join(cells[len(header) :]).strip(", "):
        row[SURPLUS] = surplus
    return row


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        lines = csv.reader(stream, skipinitialspace=True, strict=True)
        try:
            yield from lines
        except csv.Error as error:
            raise ValueError(
                f"`{path}` must be a CSV file; mend it at or before line {lines.line_num}, where a quote may be left open. Received: {error}"
            ) from error
