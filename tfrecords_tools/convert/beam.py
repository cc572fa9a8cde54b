"""The Apache Beam runner: the same shards, written by the workers of any engine that Beam knows."""

import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, PrismRunnerOptions, StandardOptions

from tfrecords_tools.convert.plan import PLAN, Plan
from tfrecords_tools.convert.shard import JOURNAL, convert_shard

FETCHING = 16
"""Files that a worker fetches at once where they lie in a bucket."""


class ConvertOptions(PipelineOptions):  # type: ignore[misc]
    """What is ours among the pipeline options."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--mount", help="LOCAL=REMOTE, as /mnt/faces=gs://faces")


class Mount(NamedTuple):
    """A folder of this machine, and where the workers find what it holds: a path or a URL that Beam's FileSystems open.

    >>> Mount("/mnt/faces", "gs://faces").remote_of("/mnt/faces/in/1.jpg")
    'gs://faces/in/1.jpg'
    """

    local: str
    remote: str

    def remote_of(self, path: str | Path) -> str:
        """Return where a worker finds a path. Raises ValueError for one outside the mounted folder."""
        inside = os.path.relpath(os.path.abspath(path), self.local)
        if inside.split(os.sep)[0] == os.pardir:
            raise ValueError(f"`source` and `output` must lie in the folder of --mount, {self.local}. Received: {path}")
        return f"{self.remote}/{inside}"


def run_on_beam(
    output: Path, plan: Plan, on_error: str, beam_args: list[str], progress: Callable[[int, int], None] | None = None
) -> None:
    """Convert all shards of a planned conversion that are not done, one element of the pipeline a shard.

    `beam_args` are Beam's pipeline options. The workers must see the data set, the output folder and this package at the same
    paths (a shared disk); with our own option `--mount LOCAL=REMOTE` what this machine sees at LOCAL they fetch from and
    put to REMOTE, a bucket. What they write is what `run_in_processes` writes. Raises ValueError for a mount that
    does not hold both folders, OSError where the pipeline fails.
    """
    options = PipelineOptions(beam_args)
    folder = os.fspath(output.absolute())
    mount = _mount(options.view_as(ConvertOptions).mount)
    waiting = [shard for shard in plan.shards() if not _note(output, *shard).exists()]
    if not waiting:
        return
    if mount is not None:
        for path in (plan.about["request"]["source"], folder):
            mount.remote_of(path)
        for shard in waiting:
            _cut_plan(output / JOURNAL / PLAN, _plan_of(folder, *shard), *shard, plan.about["request"]["shard_size"])
    if options.view_as(StandardOptions).runner in (None, "DirectRunner"):
        _without_download(options)
    with _failures_named(), _watched(output, plan, progress), beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(waiting)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.Map(_convert, folder, on_error, mount)
        )


def _mount(text: str | None) -> Mount | None:
    if text is None:
        return None
    local, found, remote = text.partition("=")
    if not (found and remote and os.path.isdir(local)):
        raise ValueError(
            f"`mount` must be a folder of this machine, =, and where workers find it, as /mnt/faces=gs://faces. Received: {text}"
        )
    return Mount(os.path.abspath(local), remote.rstrip("/"))


def _without_download(options: Any) -> None:
    """Keep the DirectRunner from downloading another one, Prism, unless its place is given; it then does the work itself."""
    prism = options.view_as(PrismRunnerOptions)
    prism.prism_location = prism.prism_location or "none"


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn what runners raise for a failed element, a page of traceback, into its last line."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        last = [line for line in str(error).splitlines() if line.strip()][-1:] or [repr(error)]
        raise OSError(
            f"the pipeline failed; what is finished is kept, and the same command goes on. Received: {last[0].strip(chr(34))}"
        ) from error


@contextmanager
def _watched(output: Path, plan: Plan, progress: Callable[[int, int], None] | None) -> Iterator[None]:
    """Call `progress` each second with the photos of the shards that are done, as far as this machine can see."""
    ended = threading.Event()
    total, size, shards = plan.total(), plan.about["request"]["shard_size"], plan.shards()

    def watch() -> None:
        while progress is not None and not ended.wait(1.0):
            progress(min(total, size * sum(_note(output, *shard).exists() for shard in shards)), total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if progress is not None:
        progress(total, total)


def _note(output: Path, split: str, number: int) -> Path:
    """Return the file in which `convert_shard` notes that a shard is done."""
    return output / JOURNAL / f"{split}-{number:05d}.json"


def _plan_of(folder: str, split: str, number: int) -> Path:
    return Path(folder) / JOURNAL / f"{split}-{number:05d}.sqlite"


def _cut_plan(plan: Path, part: Path, split: str, number: int, size: int) -> None:
    """Write a plan of one shard, small enough to send."""
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as db:
        db.execute("ATTACH ? AS whole", (os.fspath(plan),))
        db.execute("CREATE TABLE about AS SELECT value FROM whole.about")
        db.execute(
            "CREATE TABLE planned AS SELECT * FROM whole.planned WHERE split = ? AND place >= ? AND place < ?",
            (split, number * size, (number + 1) * size),
        )
        db.commit()


def _convert(shard: tuple[str, int], folder: str, on_error: str, mount: Mount | None) -> str:
    if mount is None:
        return str(convert_shard(Path(folder), *shard, on_error)["file"])
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / JOURNAL).mkdir()
        _fetch(mount.remote_of(_plan_of(folder, *shard)), scratch / JOURNAL / PLAN)
        _fetch_photos(scratch, mount)
        file = str(convert_shard(scratch, *shard, on_error)["file"])
        for done in (scratch / file, _note(scratch, *shard)):
            _put(done, mount.remote_of(Path(folder) / done.relative_to(scratch)))
    return file


def _fetch_photos(scratch: Path, mount: Mount) -> None:
    """Fetch the photos and masks that a shard's plan names, and let it name the fetched ones."""
    with closing(sqlite3.connect(scratch / JOURNAL / PLAN)) as db, ThreadPoolExecutor(FETCHING) as pool:
        rows = [(place, json.loads(text)) for place, text in db.execute("SELECT place, photo FROM planned")]
        photos = pool.map(lambda row: _fetch_photo(row[1], scratch / "photos" / str(row[0]), mount), rows)
        for (place, _), photo in zip(rows, photos, strict=True):
            db.execute("UPDATE planned SET photo = ? WHERE place = ?", (json.dumps(photo), place))
        db.commit()


def _fetch_photo(photo: dict[str, Any], into: Path, mount: Mount) -> dict[str, Any]:
    into.mkdir(parents=True)
    fetched = {**photo, "path": os.fspath(into / os.path.basename(photo["path"]))}
    _fetch(mount.remote_of(photo["path"]), Path(fetched["path"]))
    if "mask" in photo:
        (into / "mask").mkdir()
        fetched["mask"] = os.fspath(into / "mask" / os.path.basename(photo["mask"]))
        mask = mount.remote_of(photo["mask"])
        parts = FileSystems.match([f"{mask}_*.png"])[0].metadata_list if photo["mask_order"] == "parts" else ()
        for path in [part.path for part in parts] or [mask]:
            _fetch(path, into / "mask" / os.path.basename(path))
    return fetched


def _fetch(remote: str, local: Path) -> None:
    """Copy a file from the bucket; one that is not there is left out, and the conversion says so."""
    if not FileSystems.exists(remote):
        return
    with FileSystems.open(remote, compression_type=CompressionTypes.UNCOMPRESSED) as source, local.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _put(local: Path, remote: str) -> None:
    """Copy a file to the bucket under another name, then give it its own, so that it is never seen half written."""
    part = f"{remote}.part"
    with local.open("rb") as source, FileSystems.create(part, compression_type=CompressionTypes.UNCOMPRESSED) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    FileSystems.rename([part], [remote])
