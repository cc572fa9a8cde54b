"""Tables, read strictly and row by row: UTF-8 or UTF-16, commas, semicolons or tabs; what is no table is an error that names its line."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SURPLUS = "more cells than columns"
"""Key under which a row keeps what it has beyond the header; a decimal comma does that."""

Row = dict[str, str]


def read_table(
    path: Path, needed: Sequence[str] = (), names: Mapping[str, str] | None = None, headless: Sequence[str] = ()
) -> tuple[list[str], Iterator[Row]]:
    """Return a table's header and its rows, read as they are asked for; cells that a short row lacks are empty.

    `names` maps our names of columns to the table's. A first line of as many cells as `headless`, none of them a name
    of it, is a row of these columns. Bytes that are no UTF-8 come as `os.fsdecode` has them, so that file names in any encoding
    fit. Raises ValueError for a table without the `needed` columns and, at the row in question, for a quote left open or a
    cell of over 128 KB.
    """
    lines = _lines(path)
    first = next(lines, [])
    header = [name.strip() for name in first]
    if headless and len(header) == len(headless) and not set(header) & set(headless):
        return list(headless), (_row(headless, cells) for cells in (first, *lines) if cells)
    renamed = {theirs: ours for ours, theirs in (names or {}).items()}
    wanted = [(names or {}).get(name, name) for name in needed] + list(renamed)
    missing = [name for name in dict.fromkeys(wanted) if name not in header]
    if missing:
        raise ValueError(
            f"`{path}` must be a CSV file with {'a column' if len(missing) == 1 else 'the columns'} {', '.join(missing)}. "
            f"Received: {', '.join(header)[:200] or 'an empty file'}"
        )
    header = [renamed.get(name, name) for name in header]
    return header, (_row(header, cells) for cells in lines if cells)


def _row(header: Sequence[str], cells: list[str]) -> Row:
    row = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
    if surplus := ",".join(cells[len(header) :]).strip(", "):
        row[SURPLUS] = surplus
    return row


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    header = start.decode(encoding, "ignore").partition("\n")[0]
    delimiter = "," if "," in header else max(";\t", key=header.count)
    with path.open(newline="", encoding=encoding, errors=errors) as stream:
        lines = csv.reader(stream, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
        try:
            yield from lines
        except (csv.Error, UnicodeError) as error:
            raise ValueError(
                f"`{path}` must be a CSV file; mend it at or before line {lines.line_num}, where a quote may be left open. Received: {error}"
            ) from error
