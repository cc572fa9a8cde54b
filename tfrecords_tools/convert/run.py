"""A conversion from start to end: planned, run over processes or Beam, resumed where it was cut, and described."""

import contextlib
import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seghgan_tf.data.folder import (
    DATASET_FILE,
    SPLITS,
    describe,
    read_dataset_json,
    read_split,
    split_of,
    storable,
    tally_of,
    write_dataset_json,
)
from tfrecords_tools.actions import joined
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.local import run_in_processes
from tfrecords_tools.convert.plan import PLAN, Plan, PlanWriter, too_few
from tfrecords_tools.convert.shard import JOURNAL, convert_shard
from tfrecords_tools.photo import Note, Photo, Reject
from tfrecords_tools.readers import read_dataset
from tfrecords_tools.rejects import Reasons, check_sum, open_rejects

LOCK = "lock"
ON_ERROR = ("report", "skip", "fail")

Progress = Callable[[int, int], None]
"""Called with the number of photos done so far and the number of all."""


def convert(
    conversion: Conversion,
    output: Path,
    *,
    workers: int = 1,
    on_error: str = "report",
    append: bool = False,
    min_kept: float = 0.1,
    beam_args: list[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Convert a data set into the folder `output` and return what its `dataset.json` says.

    The same command after any interruption goes on and ends with the same bytes; a folder that is already so is left
    as it is. With `append` the photos that a finished folder does not have are added to it. `beam_args` (even empty) run
    the shards on Apache Beam instead of `workers` processes. What cannot be used is written to `rejected.csv` unless
    `on_error` is "fail", which stops at the first; where less than the share `min_kept` of the photos could be used, or none, the folder
    is left as it was. Raises ValueError for settings and data that cannot be, OSError where
    the disk does not take what is written or another conversion is at work in the folder.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"`on_error` must be one of {', '.join(ON_ERROR)}. Received: {on_error}")
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Received: {workers}")
    if beam_args is not None:
        try:  # before the data set is listed
            from tfrecords_tools.convert.beam import run_on_beam
        except ImportError as missing:
            raise ValueError(
                "`runner` must be local because Apache Beam is missing; pip install 'seghgan-tf[beam]'. Received: beam"
            ) from missing
    if append and conversion.share[1] > 1:
        raise ValueError("`append` must go without `shard`; leave one out. Received: both")
    output = storable(output)
    before = _finished(output, conversion, append)
    if before is not None and not append:
        shutil.rmtree(output / JOURNAL, ignore_errors=True)
        return before
    journal, existed = output / JOURNAL, output.is_dir()
    journal.mkdir(parents=True, exist_ok=True)
    with _alone(journal):
        _plan(conversion, output, existed, before, on_error == "fail")
        with contextlib.closing(Plan(journal / PLAN)) as plan:
            if beam_args is not None:
                run_on_beam(output, plan, on_error, beam_args, progress)
            else:
                run_in_processes(output, plan, plan.shards(), on_error, workers, progress)
            _check_kept(output, existed, plan, min_kept, on_error)
            description = _describe(output, plan, before, on_error)
        shutil.rmtree(journal)
    return description


def _plan(conversion: Conversion, output: Path, existed: bool, before: dict[str, Any] | None, fail: bool) -> None:
    """Make the conversion's plan unless it is there; where there can be none the folder is left as it was."""
    journal = output / JOURNAL
    for left in journal.glob("*.part"):
        left.unlink()
    if _planned(journal, conversion.request(), before):
        return
    _clear(journal)
    try:
        _make_plan(conversion, output, journal, before, fail)
    except sqlite3.OperationalError as error:
        raise OSError(f"`output` must take the conversion's plan; {journal} does not: {error}") from error
    except ValueError:
        _leave(output, existed)
        raise


def _leave(output: Path, existed: bool, files: Iterable[str] = ()) -> None:
    """Take away what this conversion has put into a folder, and the folder unless it `existed`."""
    for name in files:
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / JOURNAL)
    if not existed:
        output.rmdir()


def _check_kept(output: Path, existed: bool, plan: Plan, min_kept: float, on_error: str) -> None:
    """Raise ValueError, with the folder as it was, where too few photos could be used.

    A share of several machines weighs what the reader rejected by its own part of all photos, as each of them does.
    """
    reasons, files = Reasons(plan.rejects()), []
    already, machines = plan.about["already_there"], plan.about["request"]["share"][1]
    own, whole = plan.total() + already, sum(plan.about["photos"].values()) + already
    wanted = min_kept * (own * (whole + reasons.counts.total()) / whole)
    kept = own
    for shard in plan.shards():
        result = convert_shard(output, *shard, on_error)
        files.append(result["file"])
        kept -= len(result["rejected"])
        for each in result["rejected"]:
            reasons.add(Reject(*each))
    if reasons.counts and (kept < wanted or (not kept and machines == 1)):
        _leave(output, existed, files)
        raise too_few(kept, reasons.most())


def _finished(output: Path, conversion: Conversion, append: bool) -> dict[str, Any] | None:
    """Return the description of a finished folder that fits the request; None for a new or an unfinished one."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"`output` must be a folder. Received: {output}, a file")
    if (output / DATASET_FILE).is_file():
        found = read_dataset_json(output)
        if append or (found.get("request") == conversion.told() and found.get("inputs") == _inputs(conversion)):
            return found
        raise ValueError(
            "`output` must be a new folder, or one converted with the same settings from the same files; name another, or add to it with "
            f"--append. Received: {output}, which holds {found.get('source')}"
        )
    if append:
        raise ValueError(f"`output` must be a finished folder to append to; leave out --append. Received: {output}")
    if output.exists() and not (output / JOURNAL).is_dir() and any(output.iterdir()):
        raise ValueError(f"`output` must be a new or an empty folder. Received: {output}, which holds other files")
    return None


@contextlib.contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with it, however it ends."""
    with (journal / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(
                f"`output` must be free; another conversion is at work in it. Received: {journal.parent}"
            ) from error
        yield


def _planned(journal: Path, request: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Tell whether a plan for this request is there; another request's is an error."""
    if not (journal / PLAN).is_file():
        return False
    with contextlib.closing(Plan(journal / PLAN)) as plan:
        about = plan.about
    if about["generation"] != _generation(before):  # that conversion was finished and only its journal left
        return False
    changed = [key for key, value in request.items() if about["request"].get(key) != value]
    if changed:
        raise ValueError(
            f"`output` must be finished with the settings it was begun with, or removed. Received: {journal.parent}, begun with "
            + ", ".join(f"{key} {about['request'].get(key)}" for key in changed)
        )
    return True


def _clear(journal: Path) -> None:
    """Remove what an earlier conversion has left, but for the lock that is held."""
    for left in journal.iterdir():
        if left.name != LOCK:
            left.unlink()


def _generation(before: dict[str, Any] | None) -> int:
    return 0 if before is None else before.get("generation", 0) + 1


def _inputs(conversion: Conversion) -> str:
    """Return a digest of all that the reader says of the data set now."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(PlanWriter(Path(scratch) / PLAN)) as writer:
        writer.add(_entries(conversion, Path(scratch)), conversion.seed, False)
        return writer.inputs()


def _entries(conversion: Conversion, aside: Path) -> Iterator[Photo | Reject | Note]:
    entries = read_dataset(conversion.dataset, Path(conversion.source), conversion.options)
    return entries if conversion.actions is None else joined(entries, conversion.actions, aside)


def _make_plan(conversion: Conversion, output: Path, journal: Path, before: dict[str, Any] | None, fail: bool) -> None:
    """List the data set, join its action units and share its photos out."""
    with contextlib.closing(PlanWriter(journal / PLAN)) as writer:
        for split in SPLITS if before is not None else ():
            for face in read_split(output, before or {}, split):
                writer.add_known(face.image_id, face.subject_id or face.image_id, split, conversion.seed)
        writer.add(_entries(conversion, journal), conversion.seed, fail, conversion.picturing.takes_several)
        files = writer.accounts.count(Path(conversion.source))
        writer.finish(conversion, {"generation": _generation(before), "files": files})


def _describe(output: Path, plan: Plan, before: dict[str, Any] | None, on_error: str) -> dict[str, Any]:
    """Write `rejected.csv` and `dataset.json` from what the shards hold. Raises ValueError where a file is not accounted for."""
    told = before or {}
    shards = {split: list(split_of(told, split)["shards"]) for split in SPLITS}
    tallies = {split: tally_of(output, told, split) for split in SPLITS}
    photos = plan.about["already_there"]
    first = plan.about["request"]["share"][0] == 0  # which tells what all machines list
    with open_rejects(output, output / JOURNAL) as rejects:
        kept = rejects.keep(output, told, plan.judges)
        for reject in plan.rejects() if first else ():
            rejects.add(reject)
        for split, number in plan.shards():
            result = convert_shard(output, split, number, on_error)
            photos += result["photos"]
            for each in result["rejected"]:
                rejects.add(Reject(*each))
            if not result["examples"]:
                (output / result["file"]).unlink(missing_ok=True)
                continue
            shards[split].append({key: result[key] for key in ("file", "examples", "bytes", "sha256")})
            tallies[split].update(result)
    files = plan.about["files"] if first else {}
    told_now = plan.about["told"]
    description = describe(
        told.get("source", told_now["dataset"]), told.get("request", told_now), shards, tallies,
        generation=plan.about["generation"], appended=[*told.get("appended", ()), *([told_now] if told else ())],
        inputs=plan.about["inputs"], joins=plan.about["joins"] if files else {}, photos=photos, rejected_before=kept, **files,
        **rejects.to_json(),
    )  # fmt: skip
    if plan.about["request"]["share"][1] == 1:
        check_sum(description)
    write_dataset_json(output, description, output / JOURNAL)
    return description
