"""The commands `seghgan edit` and `seghgan analyze`: photos, folders and pipes in, edited photos out."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seghgan_tf.open_editor import open_editor
from serving.cli import taking

if TYPE_CHECKING:
    from seghgan_tf.editing import Editor, Face
    from seghgan_tf.edits import Settings
    from seghgan_tf.photos import Photo

app = typer.Typer()

Photos = Annotated[
    list[Path], typer.Argument(help="Photos, folders of photos, or - for one from standard input.", allow_dash=True)
]
WhichFace = Annotated[str, typer.Option(help="Which faces: largest, all (16 at most), or a number, 1 for the largest.")]
Frame = Annotated[
    str | None, typer.Option(help="`centre` takes the photo's middle square as the face instead of finding it.")
]


@app.command()
@taking("open_editor", open_editor)
def edit(
    open_editor: Callable[[], "Editor"],
    photos: Photos,
    out: Annotated[
        Path,
        typer.Option(
            allow_dash=True,
            help="Where the edited photo goes, written as its ending says (PNG, JPEG, WebP, TIFF, AVIF); without an "
            "ending, and for several photos, a folder, with a table edits.csv; - for standard output.",
        ),
    ],
    au: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AU12=3",
            help="Set an action unit to an intensity 0..5, or what else the model has: valence=0.5, arousal=-0.2 (-1..1); repeat for more.",
        ),
    ] = None,
    emotion: Annotated[
        str | None,
        typer.Option(
            help="neutral, happy, sad, surprised, fearful, disgusted, angry, contemptuous: sets every action unit, "
            "neutral all to 0."
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How far to go from what is seen to what is asked.")
    ] = 1.0,
    delta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AU12=+1", help="Change an action unit, valence or arousal from what is seen in the photo."
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take the expression of the largest face of this photo.", exists=True, dir_okay=False
        ),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Change only eyes, nose or mouth; repeat for more. All other pixels stay.")
    ] = None,
    face: WhichFace = "largest",
    frame: Frame = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="All emotions that the model can show as one picture.")
    ] = False,
    sequence: Annotated[
        int,
        typer.Option(
            min=0,
            max=240,
            help="This many steps from the photo to what is asked and back, as GIF or WebP (WebP into a folder); 1,024 px at most.",
        ),
    ] = 0,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF.")] = 95,
    exif: Annotated[
        bool,
        typer.Option(
            "--exif/--no-exif",
            help="Keep what the photo tells of camera, time and place: EXIF and XMP data, not IPTC data nor a PNG's texts.",
        ),
    ] = True,
    mark: Annotated[
        bool, typer.Option("--mark/--no-mark", help="Say inside the file that a generative model edited it.")
    ] = True,
) -> None:
    """Find faces in photos and edit their expression, in this process or over gRPC; everything else stays as it is.

    seghgan edit me.jpg --out smile.jpg --emotion happy --strength 0.7

    Action units that are not named stay as they are seen. Pixels outside the face, profile, EXIF data and transparency stay.
    """
    from seghgan_tf.edits import Settings, Wish

    wish = Wish.parse(au, emotion, delta, other, strength, sheet=sheet)
    settings = Settings(wish, region, _which(face, frame, "largest"), quality, exif, mark, sheet, sequence)
    found = list(_found(photos))
    folder = len(found) > 1 or any(path.is_dir() for path in (*photos, out)) or not (out.suffix or str(out) == "-")
    _check_out(out, folder, sheet, sequence)
    if folder:
        _many(open_editor, found, out, settings)
    else:
        _one(open_editor, found[0], out, settings)


@app.command()
@taking("open_editor", open_editor)
def analyze(
    open_editor: Callable[[], "Editor"],
    photo: Annotated[Path, typer.Argument(help="A photo, or - for standard input.", allow_dash=True)],
    face: WhichFace = "all",
    frame: Frame = None,
) -> None:
    """Show where the faces of a photo are and which expression the model sees in each."""
    from rich.console import Console
    from rich.table import Table

    from seghgan_tf.edits import given
    from seghgan_tf.expressions import AU_NAMES
    from seghgan_tf.photos import read

    which = _which(face, frame, "all")
    opened = read(given(photo))
    editor = open_editor()
    faces = editor.chosen(opened, which)
    for number, one in enumerate(faces, 1):
        _warn(opened, one)
        left, top, right, bottom = one.box
        title = f"face {number}: {right - left:.0f} x {bottom - top:.0f} px at {left:.0f}, {top:.0f}"
        table = Table("label", "meaning", "seen", title=title)
        for label, value in one.seen.items():
            table.add_row(label, AU_NAMES.get(label, ""), f"{value:.2f}")
        Console().print(table)


def _which(face: str, frame: str | None, usual: str) -> str:
    if frame not in (None, "centre"):
        raise typer.BadParameter(f"--frame must be centre. Received: {frame}")
    if not (face in ("largest", "all") or face.isdecimal()):
        raise typer.BadParameter(f"--face must be largest, all or a number. Received: {face}")
    if frame and face != usual:
        raise typer.BadParameter("give --face or --frame, not both")
    return frame or face


def _check_out(out: Path, folder: bool, sheet: bool, sequence: int) -> None:
    """Raise BadParameter where `out` is no file, or no `folder` of files, that can be written for what is asked."""
    from seghgan_tf.saving import kind_of

    if sequence and sheet:
        raise typer.BadParameter("give --sheet or --sequence, not both")
    if sequence == 1:
        raise typer.BadParameter("--sequence needs at least 2 steps. Received: 1")
    if folder and not out.is_dir() and (str(out) == "-" or out.suffix or out.exists()):
        raise typer.BadParameter(
            f"--out must be a folder for several photos, or where it has no ending. Received: {out}"
        )
    if folder or str(out) == "-":
        return
    if not sequence:
        try:
            kind_of(out)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    elif out.suffix.lower() not in (".gif", ".webp"):
        raise typer.BadParameter(f"--sequence writes .gif or .webp. Received: --out {out}")


def _say(text: str) -> None:
    typer.secho(f"seghgan: {text}", fg="yellow", err=True)


def _warn(photo: "Photo", face: "Face") -> None:
    height, width = photo.pixels.shape[:2]
    for fault in face.faults(width, height):
        _say(f"a face is hard to edit: {fault}")


def _found(photos: list[Path]) -> Iterator[Path]:
    """Return the photos, those of folders in order of their names."""
    from seghgan_tf.photos import SUFFIXES

    for path in photos:
        if not path.is_dir():
            if str(path) != "-" and not path.exists():
                raise typer.BadParameter(f"a photo must be a file or a folder. Received: {path}, which is not there")
            yield path
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        if not inside:
            raise typer.BadParameter(f"a folder must hold photos ({', '.join(SUFFIXES)}). Received: {path}")
        yield from inside


def _one(open_editor: Callable[[], "Editor"], path: Path, out: Path, settings: "Settings") -> None:
    from seghgan_tf.edits import edited_file, given
    from seghgan_tf.files import readable, write_atomically
    from seghgan_tf.photos import read

    if path.exists() and out.exists() and out.samefile(path):
        raise typer.BadParameter(f"--out must be another file than the photo, as it would be replaced. Received: {out}")
    photo = read(given(path))  # before the model, which takes seconds
    editor = open_editor()
    edited = edited_file(editor, photo, settings.known(editor), out)
    for face in edited.faces:
        _warn(photo, face)
    for note in edited.notes:
        _say(note)
    if str(out) == "-":
        sys.stdout.buffer.write(edited.file)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, edited.file)
    typer.echo(f"edited: {readable(str(out))}")


def _many(open_editor: Callable[[], "Editor"], photos: list[Path], out: Path, settings: "Settings") -> None:
    from seghgan_tf.edit_folder import edit_folder, targets
    from seghgan_tf.files import readable

    places = targets(photos, out, settings)
    editor = open_editor()
    settings = settings.known(editor)
    out.mkdir(parents=True, exist_ok=True)
    failed = edit_folder(editor, photos, places, settings, out / "edits.csv")
    done = f"{len(photos) - failed} of {len(photos)} photos into {readable(str(out))}"
    typer.echo(f"edited: {done}; edits.csv says what was found")
    if failed:
        raise typer.Exit(1)
