"""One reader per dataset, each yielding photos, and what it cannot use, in the order its owner ships them."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from tfrecords_tools.photo import Note, Photo, Reject


class Option(NamedTuple):
    """An option of a reader: its type on the command line (a list may be given several times) and what it means."""

    kind: Any
    help: str


class Reader(NamedTuple):
    """How a data set is read.

    `read` names a function as "module:function", imported when it is used; it takes the folder and the reader's `options` and yields a
    Photo or a Reject for each file or row, and a Note where a join left something out. `align` is how its photos come to the
    frame of CelebA-HQ unless told otherwise: "none", "landmarks" or "mtcnn".
    """

    read: str
    align: str = "none"
    options: Mapping[str, Option] = MappingProxyType({})


LABEL_ORDER = {"label_order": Option(Literal["g_mask", "bisenet"], "class order of prepared label maps.")}

READERS = {
    "celebamask": Reader("tfrecords_tools.readers.celebamask:read_celebamask", options=LABEL_ORDER),
    "affectnet": Reader("tfrecords_tools.readers.affectnet:read_affectnet", "landmarks"),
    "rafd": Reader("tfrecords_tools.readers.rafd:read_rafd", "mtcnn", {
        "camera": Option(list[int], "only these cameras (0 45 90 135 180)."),
        "gaze": Option(list[str], "only these gazes (frontal left right)."),
    }),
    "london": Reader("tfrecords_tools.readers.london:read_london", "landmarks"),
    "folder": Reader("tfrecords_tools.readers.folder:read_folder", options=LABEL_ORDER | {
        "table": Option(Path, "CSV with filename and any of label, AU01_r.., valence, arousal, mask, subject, split; none: take none."),
        "column": Option(list[str], "NAME=COLUMN where the table calls one of these otherwise, as filename=pth."),
    }),
}  # fmt: skip
"""The data sets with a reader, which `seghgan data convert --help` lists: a new one is its file and a line here."""


def read_dataset(dataset: str, source: Path, options: dict[str, Any]) -> "Iterator[Photo | Reject | Note]":
    """Return what the reader of a data set yields for the folder `source`.

    Raises ValueError for a data set without a reader, an option it does not take, or a folder of another layout.
    """
    if dataset not in READERS:
        raise ValueError(f"`dataset` must be one of {', '.join(READERS)}. Received: {dataset}")
    if not source.is_dir():
        raise ValueError(f"`source` must be the folder of the data set. Received: {source}, which is none")
    reader = READERS[dataset]
    if unknown := sorted(options.keys() - reader.options.keys()):
        takes = ", ".join(reader.options) or "none"
        raise ValueError(
            f"`options` must be ones that {dataset} takes, which are {takes}. Received: {', '.join(unknown)}"
        )
    module, _, function = reader.read.partition(":")
    found: Iterator[Photo | Reject | Note] = getattr(importlib.import_module(module), function)(source, **options)
    return found
