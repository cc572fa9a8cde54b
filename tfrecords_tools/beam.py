"""The Apache Beam runner: the same shards, written by the workers of any engine that Beam knows."""

import os
from pathlib import Path

from tfrecords_tools.shards import convert_shard


def run_on_beam(output: Path, shards: list[tuple[str, int]], on_error: str, beam_args: list[str]) -> None:
    """Convert all shards of a planned conversion that are not done, one element of the pipeline a shard.

    `beam_args` are Beam's pipeline options. The workers must see the data set, the output folder and this package at the same
    paths (a shared disk, or a bucket mounted as one): what they write is what `run_in_processes` writes. Raises ValueError
    where Beam is not installed, RuntimeError where the pipeline fails.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            "`runner` must be local because Apache Beam is missing; pip install 'seghgan-tf[beam]'. Received: beam"
        ) from error
    folder = os.fspath(output.absolute())
    with beam.Pipeline(options=PipelineOptions(beam_args)) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "Spread" >> beam.Reshuffle()
            | "Convert" >> beam.Map(_convert, folder, on_error)
        )


def _convert(shard: tuple[str, int], folder: str, on_error: str) -> str:
    split, number = shard
    return str(convert_shard(Path(folder), split, number, on_error)["file"])
