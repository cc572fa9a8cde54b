"""One reader per dataset, each yielding photos, and what it cannot use, in the order its owner ships them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrecords_tools.photo import Photo, Reject

DATASETS = ("celebamask", "affectnet", "rafd", "london", "folder")


def read_dataset(dataset: str, source: Path, options: dict[str, Any], max_pixels: int) -> Iterator[Photo | Reject]:
    """Return what the reader of a data set yields for the folder `source`.

    Raises ValueError for a data set without a reader, an option it does not take, or a folder of another layout.
    """
    if not source.is_dir():
        raise ValueError(f"`source` must be the folder of the data set. Received: {source}, which is none")
    if dataset == "celebamask":
        from tfrecords_tools.readers.celebamask import read_celebamask

        return read_celebamask(source, max_pixels=max_pixels, **options)
    if dataset == "affectnet":
        from tfrecords_tools.readers.affectnet import read_affectnet

        return read_affectnet(source, **options)
    if dataset == "rafd":
        from tfrecords_tools.readers.rafd import read_rafd

        return read_rafd(source, **options)
    if dataset == "london":
        from tfrecords_tools.readers.london import read_london

        return read_london(source, **options)
    if dataset == "folder":
        from tfrecords_tools.readers.folder import read_folder

        return read_folder(source, max_pixels=max_pixels, **options)
    raise ValueError(f"`dataset` must be one of {', '.join(DATASETS)}. Received: {dataset}")
