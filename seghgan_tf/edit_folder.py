"""Many photos into a folder: no name twice, no original replaced, each photo a row of edits.csv, one that fails too."""

import csv
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from seghgan_tf.editing import Editor
from seghgan_tf.edits import Edited, Settings, edited_file, given, name_for
from seghgan_tf.files import readable, write_atomically
from seghgan_tf.photos import read
from seghgan_tf.progress import progress

COLUMNS = ("photo", "edited", "face", "left", "top", "right", "bottom", "score", "note")
"""Columns of edits.csv."""


def targets(photos: list[Path], out: Path, settings: Settings) -> list[Path]:
    """Return where each edited photo goes: under its own name, with -2 and so on where another has that name.

    Raises BadParameter where that would replace one of the photos.
    """
    originals = {path.resolve() for path in photos}
    taken: set[str] = set()
    found = []
    for path in photos:
        name = Path(name_for(path, settings))
        target, number = out / name, 1
        while target.name.casefold() in taken:
            number += 1
            target = out / f"{name.stem}-{number}{name.suffix}"
        if target.resolve() in originals:
            raise typer.BadParameter(f"--out must be another folder than the photos', as {target} would be replaced")
        taken.add(target.name.casefold())
        found.append(target)
    return found


def edit_folder(editor: Editor, photos: list[Path], places: list[Path], settings: Settings, table: Path) -> int:
    """Edit photos into their `places`, with a row for each face in `table`; return how many failed, each with why.

    A server that is gone ends it.
    """
    failed = 0
    with (
        table.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        progress(Console(stderr=True), "editing") as move,
    ):
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for done, (path, place) in enumerate(zip(photos, places, strict=True)):
            move(done, len(photos))
            try:
                photo = read(given(path))
                edited = edited_file(editor, photo, settings, place)
                write_atomically(place, edited.file)
            except (ValueError, OSError) as error:
                failed += 1
                rows.writerow((readable(str(path)), *[""] * (len(COLUMNS) - 2), " ".join(str(error).split())))
                continue
            rows.writerows(_rows(path, place, edited, photo.size))
        move(len(photos), len(photos))
    return failed


def _rows(path: Path, place: Path, edited: Edited, size: tuple[int, int]) -> Iterator[tuple[str, ...]]:
    for number, face in enumerate(edited.faces, 1):
        box = [f"{side:.0f}" for side in face.box]
        notes = "; ".join([*face.faults(*size), *edited.notes])
        yield readable(str(path)), readable(place.name), str(number), *box, f"{face.score:.3f}", notes
