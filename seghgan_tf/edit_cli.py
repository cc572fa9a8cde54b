"""The commands `seghgan edit` and `seghgan analyze`: photos, folders and pipes in, edited photos out."""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seghgan_tf import quiet
from serving.cli import asked, taking

if TYPE_CHECKING:
    from seghgan_tf.editing import Editor, Face
    from seghgan_tf.photos import Photo

app = typer.Typer()

Photos = Annotated[
    list[Path], typer.Argument(help="Photos, folders of photos, or - for one from standard input.", allow_dash=True)
]
Export = Annotated[
    Path | None, typer.Option("--export", help="Folder that `seghgan export` wrote; edits in this process.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="A model that comes with the package (portrait-128 for photographs, drawn-64), or an .npz file of weights; what edits where neither --export nor --server is given."
    ),
]
Server = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Edit over gRPC on a running server instead.")]
Model = Annotated[str, typer.Option(help="Name of the model on the server.")]
Space = Annotated[
    str | None,
    typer.Option(
        help="Labels of a server's model that an earlier version exported: aus, emotions, va or AU04,AU12,..."
    ),
]
_DEPTH = "the photo has 16 bits a channel, the edited file 8 (grey keeps its 16)"
WhichFace = Annotated[str, typer.Option(help="Which faces: largest, all, or a number, 1 for the largest.")]
Frame = Annotated[
    str | None, typer.Option(help="`centre` takes the photo's middle square as the face instead of finding it.")
]


@taking("about", asked)
def _editor(
    about: Callable[[], dict[str, Any]],
    preset: Preset = None,
    export_dir: Export = None,
    server: Server = None,
    model: Model = "seghgan",
    space: Space = None,
) -> "Editor":
    if sum(one is not None for one in (preset, export_dir, server)) > 1:
        raise typer.BadParameter("give one of --preset NAME, --export DIR and --server HOST:PORT")
    if server is None:
        quiet.start_tensorflow()
    from seghgan_tf.editing import PRESET, Editor

    if export_dir is not None:
        return Editor.from_export(export_dir)
    if server is None:
        return Editor.from_preset(preset or PRESET)
    from seghgan_tf.expressions import expression_space, labelled_space
    from seghgan_tf.regions import COLUMNS
    from serving.client import SegHGANClient

    client = SegHGANClient(server, model=model, **about())
    served = client.served()
    expression = expression_space(space) if space else labelled_space(client.labels())
    if expression.size != served.expression_size:
        raise typer.BadParameter(
            f"--space must have the model's {served.expression_size} labels. Received: {expression.size}, {space}"
        )
    description = {"image_size": served.image_size, "regions": COLUMNS, "expression": expression.to_json()}
    return Editor(
        description,
        lambda signature, inputs: client.predict(signature, inputs).outputs,
        finds_faces="locate" in served.signatures,
    )


@app.command()
@taking("open_editor", _editor)
def edit(
    open_editor: Callable[[], "Editor"],
    photos: Photos,
    out: Annotated[
        Path,
        typer.Option(
            allow_dash=True,
            help="Where the edited photo goes, written as its ending says (PNG, JPEG, WebP, TIFF, AVIF); a folder for "
            "several photos, with a table edits.csv; - for standard output.",
        ),
    ],
    au: Annotated[
        list[str] | None,
        typer.Option(metavar="AU12=3", help="Set an action unit to an intensity 0..5; repeat for more."),
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
        list[str] | None, typer.Option(metavar="AU12=+1", help="Change an action unit from what is seen in the photo.")
    ] = None,
    other: Annotated[
        Path | None, typer.Option("--from", help="Take the expression of the largest face of this photo.", exists=True)
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
        int, typer.Option(min=0, max=240, help="This many steps from what is seen to what is asked, as GIF or WebP.")
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
    from seghgan_tf.photos import read

    wish = Wish.parse(au, emotion, delta, other, strength, anything=sheet)
    face = _which(face, frame)
    _check_out(out, sheet, sequence, region is not None)
    found = list(_found(photos))
    alone = len(found) == 1 and not (out.is_dir() or any(path.is_dir() for path in photos))
    photo = read(_bytes(found[0])) if alone else None  # before the model, which takes seconds
    editor = open_editor()
    settings = Settings(wish.filled(editor), region, face, quality, exif, mark, sheet, sequence)
    if photo is not None:
        _one(editor, photo, out, settings)
    else:
        _many(editor, found, out, settings)


@app.command()
@taking("open_editor", _editor)
def analyze(
    open_editor: Callable[[], "Editor"],
    photo: Annotated[Path, typer.Argument(help="A photo, or - for standard input.", allow_dash=True)],
    face: WhichFace = "all",
    frame: Frame = None,
) -> None:
    """Show where the faces of a photo are and which expression the model sees in each."""
    from rich.console import Console
    from rich.table import Table

    from seghgan_tf.expressions import AU_NAMES
    from seghgan_tf.photos import read

    opened = read(_bytes(photo))
    editor = open_editor()
    faces = editor.chosen(opened, _which(face, frame))
    for number, one in enumerate(faces, 1):
        _warn(opened, one)
        left, top, right, bottom = one.box
        title = f"face {number}: {right - left:.0f} x {bottom - top:.0f} px at {left:.0f}, {top:.0f}"
        table = Table("label", "meaning", "seen", title=title)
        for label, value in one.seen.items():
            table.add_row(label, AU_NAMES.get(label, ""), f"{value:.2f}")
        Console().print(table)


def _which(face: str, frame: str | None) -> str:
    if frame not in (None, "centre"):
        raise typer.BadParameter(f"--frame must be centre. Received: {frame}")
    if not (face in ("largest", "all") or face.isdecimal()):
        raise typer.BadParameter(f"--face must be largest, all or a number. Received: {face}")
    return frame or face


def _check_out(out: Path, sheet: bool, sequence: int, limited: bool) -> None:
    """Raise BadParameter where `out` is no file that can be written for what is asked."""
    from seghgan_tf.saving import LOSSY, kind_of

    if sequence and sheet:
        raise typer.BadParameter("give --sheet or --sequence, not both")
    if sequence and out.suffix.lower() not in (".gif", ".webp"):
        raise typer.BadParameter(f"--sequence writes .gif or .webp. Received: --out {out}")
    if not sequence and out.suffix and not out.is_dir():
        kind = kind_of(out)
        if limited and kind in LOSSY:
            _say(f"{kind} is lossy: pixels outside the regions change a little too; .png or .tif keeps them")


def _say(text: str) -> None:
    typer.secho(f"seghgan: {text}", fg="yellow", err=True)


def _warn(photo: "Photo", face: "Face") -> None:
    height, width = photo.pixels.shape[:2]
    for fault in face.faults(width, height):
        _say(f"a face is hard to edit: {fault}")


def _bytes(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    return path.read_bytes()


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


def _one(editor: "Editor", photo: "Photo", out: Path, settings: Any) -> None:
    from seghgan_tf.edits import edited_file
    from seghgan_tf.saving import loses_depth

    file, faces = edited_file(editor, photo, settings, out)
    for face in faces:
        _warn(photo, face)
    if loses_depth(photo):
        _say(_DEPTH)
    if str(out) == "-":
        sys.stdout.buffer.write(file)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(file)
    typer.echo(f"edited: {out}")


def _many(editor: "Editor", photos: list[Path], out: Path, settings: Any) -> None:
    """Edit photos into a folder; what fails is said in the table and the work goes on."""
    from rich.console import Console

    from seghgan_tf.edits import edited_file, name_for
    from seghgan_tf.photos import read
    from seghgan_tf.progress import progress
    from seghgan_tf.saving import loses_depth

    if str(out) == "-" or (out.suffix and not out.is_dir()):
        raise typer.BadParameter(f"--out must be a folder for several photos. Received: {out}")
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with (out / "edits.csv").open("w", newline="") as table, progress(Console(stderr=True), "editing") as move:
        rows = csv.writer(table)
        rows.writerow(("photo", "edited", "face", "left", "top", "right", "bottom", "score", "note"))
        for done, path in enumerate(photos):
            move(done, len(photos))
            try:
                photo = read(_bytes(path))
                target = out / name_for(path, photo, settings)
                file, faces = edited_file(editor, photo, settings, target)
                target.write_bytes(file)
            except (ValueError, OSError) as error:
                failed += 1
                rows.writerow((path, "", "", "", "", "", "", "", " ".join(str(error).split())))
                continue
            height, width = photo.pixels.shape[:2]
            for number, face in enumerate(faces, 1):
                notes = "; ".join([*face.faults(width, height), *[_DEPTH] * loses_depth(photo)])
                box = [f"{place:.0f}" for place in face.box]
                rows.writerow((path, target.name, number, *box, f"{face.score:.3f}", notes))
        move(len(photos), len(photos))
    typer.echo(f"edited: {len(photos) - failed} of {len(photos)} photos into {out}; edits.csv says what was found")
    if failed:
        raise typer.Exit(1)
