"""Images a second of the loader beside reading and decoding alone, and what augmentation costs a training step: `--help`."""

import argparse
import dataclasses
import io
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from seghgan_tf.config import AugmentConfig
from seghgan_tf.data.augment import augment
from seghgan_tf.data.folder import Tally, describe, shard_entry, shard_name, write_dataset_json
from seghgan_tf.data.schema import FEATURES, Face, encode_face
from seghgan_tf.data.select import PARSED_TOGETHER, read_records
from seghgan_tf.data.stream import Batching, load_expression_stream, load_segmentation_stream
from seghgan_tf.expressions import expression_space
from seghgan_tf.machine import keep_freed_memory
from tfrecords_tools.images import encode_ids

BATCH = 32
DECODING, READING = "decoding in memory", "reading and decoding"
SPACE = expression_space("AU12")
AUGMENTATIONS = {
    "bare": None,
    "flip": AugmentConfig(flip=True),
    "flip and shift": AugmentConfig(flip=True, crop=0.05),
    "enlarging": AugmentConfig(flip=False, scale=0.1),
    "colour": AugmentConfig(flip=False, colour=0.1),
    "all": AugmentConfig(flip=True, crop=0.05, scale=0.1, colour=0.1),
}


def made_face(number: int, size: int, generator: np.random.Generator) -> Face:
    """A picture with a photo's share of smooth areas, edges and grain, and a mask of large areas."""
    coarse = Image.fromarray(generator.integers(0, 256, (size // 16, size // 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    grain = generator.normal(0, 4, (size, size, 1))
    picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    areas = Image.fromarray(generator.integers(0, 19, (8, 8), np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    image = io.BytesIO()
    picture.save(image, "JPEG", quality=95)
    mask, aus = encode_ids(np.asarray(areas)), {"AU12": float(generator.uniform(0, 5))}
    return Face(f"{number}", image.getvalue(), "jpeg", size, size, "made", mask=mask, aus=aus)


def write_folder(folder: Path, examples: int, size: int, seed: int) -> None:
    """Write one training split of made pictures in four shards."""
    generator, shards, tally = np.random.default_rng(seed), [], Tally()
    for shard in range(4):
        path = folder / shard_name("train", shard, 4)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(shard, examples, 4):
                face = made_face(number, size, generator)
                tally.add(face)
                writer.write(encode_face(face))
        shards.append(shard_entry(path, len(range(shard, examples, 4))))
    write_dataset_json(folder, describe("made", {}, {"train": shards}, {"train": tally}))


def bound(folder: Path, masks: bool, read: bool) -> tf.data.Dataset:
    """JPEG bytes (and PNG bytes of masks), taken from memory or, with `read`, from the records as the loader reads them, decoded in parallel and dropped at once."""
    files = sorted(str(file) for file in folder.glob("train-*.tfrecord"))
    wanted = {key: FEATURES[key] for key in ("image/encoded", *(("mask/encoded",) if masks else ()))}

    def decode(example: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        mask = [tf.io.decode_png(example["mask/encoded"], channels=1)] if masks else []
        return [picture[0, 0, 0] for picture in (tf.io.decode_jpeg(example["image/encoded"], channels=3), *mask)]

    def parsed(records: tf.data.Dataset) -> tf.data.Dataset:
        together = records.batch(PARSED_TOGETHER)
        return together.map(lambda batch: tf.io.parse_example(batch, wanted), tf.data.AUTOTUNE).unbatch()

    records = read_records(files, (1, 0), None, deterministic=False)
    found = parsed(records.repeat()) if read else parsed(records).cache().repeat()
    decoded = found.map(lambda example: tuple(decode(example)), num_parallel_calls=tf.data.AUTOTUNE)
    return decoded.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def streams_of(folder: Path, how: Batching) -> dict[str, tf.data.Dataset]:
    """The bounds of photos and of photos with masks, each beside its streams, without and with all augmentation; those of photos also from the cache."""
    ways = {label: dataclasses.replace(how, augment=AUGMENTATIONS[label]) for label in ("bare", "all")}
    streams = {f"photos, {what}": bound(folder, False, what == READING) for what in (DECODING, READING)}
    for label, way in ways.items():
        cached = dataclasses.replace(way, cache=True)
        streams[f"photos, {label}"] = load_expression_stream(folder, "train", SPACE, way)
        streams[f"photos, cached, {label}"] = load_expression_stream(folder, "train", SPACE, cached)
    streams |= {f"masks, {what}": bound(folder, True, what == READING) for what in (DECODING, READING)}
    for label, way in ways.items():
        streams[f"masks, {label}"] = load_segmentation_stream(folder, "train", way)
    return streams


def changes(folder: Path, how: Batching, rounds: int) -> dict[str, float]:
    """Processor microseconds an image of what a training step does first: floats, and each augmentation, of photos and of photos with masks."""
    costs = {}
    for label, augmentation in AUGMENTATIONS.items():
        changed = dataclasses.replace(how, augment=augmentation)
        photos, masks = (
            load_expression_stream(folder, "train", SPACE, changed),
            load_segmentation_stream(folder, "train", changed),
        )
        for kind, stream in (("photos", photos), ("photos and masks", masks)):
            batch, step = next(iter(stream)), tf.function(augment)
            step(batch)
            taken = []
            for _ in range(5 * rounds):
                start = time.process_time()
                step(batch)
                taken.append(1e6 * (time.process_time() - start) / BATCH)
            costs[f"{label}, {kind}"] = round(statistics.median(taken), 1)
    return costs


def measure(stream: tf.data.Dataset, warm_up: int, seconds: float) -> tuple[float, float]:
    """Images a second, and processor seconds an image, over `seconds`, after `warm_up` images (which fill the buffers)."""
    iterator = iter(stream)
    for _ in range(max(warm_up // BATCH, 1)):
        next(iterator)
    count, start, processor = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(iterator)
        count += BATCH
    return count / elapsed, (time.process_time() - processor) / count


def main() -> None:
    """Measure every stream in turn, several rounds, and print medians: of the figures, and of their ratios to the bounds of the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--examples", type=int, default=1000, help="pictures to make")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement")
    parser.add_argument("--rounds", type=int, default=12, help="measurements of each stream; medians count")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keep_freed_memory()  # as training does
    how = Batching(image_size=args.size, batch_size=BATCH, training=True, seed=args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, args.examples, args.size, args.seed)

        streams = streams_of(folder, how)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in streams}
        for _ in range(args.rounds):
            for label, stream in streams.items():
                measured[label].append(measure(stream, args.examples, args.seconds))
        in_the_step = changes(folder, how, args.rounds)

    def figures_of(label: str) -> dict[str, float]:
        rates, processor = zip(*measured[label], strict=True)
        found = {
            "images_per_second": round(statistics.median(rates), 1),
            "cpu_us_per_image": round(1e6 * statistics.median(processor), 1),
        }
        for what in (DECODING, READING):
            rounds = list(zip(measured[label], measured[f"{label.split(',')[0]}, {what}"], strict=True))
            found[f"of {what}"] = round(statistics.median(own[0] / best[0] for own, best in rounds), 3)
            found[f"of {what}, by CPU"] = round(statistics.median(best[1] / own[1] for own, best in rounds), 3)
        return found

    figures = {label: figures_of(label) for label in measured}
    title = f"{args.size} px, batch {BATCH}, {os.cpu_count()} cores"
    table = Table(
        "stream", "images/s", "CPU µs/image", "of decoding", "by CPU", "of reading too", "by CPU", title=title
    )
    for label, found in figures.items():
        rate, processor, *ratios = found.values()
        table.add_row(label, f"{rate:,.0f}", f"{processor:,.0f}", *(f"{value:.2f}" for value in ratios))
    steps = Table("first thing in a step", "CPU µs/image")
    for label, value in in_the_step.items():
        steps.add_row(label, f"{value:,.0f}")
    console = Console(stderr=True, width=120)
    console.print(table, steps)
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "tensorflow": tf.__version__}
    print(
        json.dumps(
            {
                "benchmark": "input_pipeline",
                **vars(args),
                **machine,
                "streams": figures,
                "step_cpu_us_per_image": in_the_step,
            }
        )
    )


if __name__ == "__main__":
    main()
