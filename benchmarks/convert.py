"""Images a second of `seghgan data convert` beside reading, decoding and encoding alone; two workers; memory: `--help`."""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from seghgan_tf.frames import crop, square, warp_mask
from tfrecords_tools.drawn_faces import draw_faces, sample_aus, sample_faces
from tfrecords_tools.images import encode_ids, encode_image, open_picture, read_file
from tfrecords_tools.masks import read_mask
from tfrecords_tools.photo import Photo

DISTINCT = 48
"""Photos that differ; the others are links to them."""

MAX_PIXELS, QUALITY = 64_000_000, 95
"""What the converter takes where nothing else is said."""

CHILD = """
import json, sys, time
from tfrecords_tools.faces import Picturing
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert

source, output, size, workers, shard_size = sys.argv[1:]
last = 0.0

def told(done, total):
    global last
    if time.monotonic() > last + 0.2 or done == total:
        last = time.monotonic()
        print(done, total, flush=True)

picturing = Picturing(int(size) or None)
how = Conversion("celebamask", source, picturing, validation=0, test=0, shard_size=int(shard_size))
convert(how, output, workers=int(workers), progress=told)
"""


class Run(NamedTuple):
    """One conversion: images a second, processor seconds an image (both between a tenth and nine tenths of the work), and memory in MB.

    Memory is 0 where it is not watched: to add up the pages of two workers and their parent takes a tenth of a core, and holds them up.
    """

    rate: float
    processor: float
    memory: float


def make_source(folder: Path, count: int, side: int, seed: int) -> Path:
    """Write photos with grain and label maps in the common prepared form; most are links."""
    faces, aus = sample_faces(DISTINCT, seed), sample_aus(DISTINCT, seed)
    images, masks = draw_faces(faces, aus, side)
    generator = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        photo, mask = folder / "images" / f"{number:06d}.jpg", folder / "masks" / f"{number:06d}.png"
        if number < DISTINCT:
            grain = generator.normal(0, 6, (side, side, 1))
            pixels = np.clip(images[number] + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6)).save(photo, "JPEG", quality=92)
            Image.fromarray(masks[number]).save(mask, "PNG")
        else:
            os.link(folder / "images" / f"{number % DISTINCT:06d}.jpg", photo)
            os.link(folder / "masks" / f"{number % DISTINCT:06d}.png", mask)
    return folder


def bound(source: Path, size: int, own: bool, seconds: float) -> tuple[float, float]:
    """Images a second, and processor seconds an image, of reading, decoding and encoding alone, in this process.

    Everything is decoded whole and encoded by Pillow, or, with `own`, decoded and encoded as the converter does it. The pictures that
    are encoded were made smaller beforehand. With size 0 a photo keeps its bytes and is not encoded.
    """
    names = [f"{number:06d}" for number in range(DISTINCT)]
    small = {}
    for name in names:
        with (
            Image.open(source / "images" / f"{name}.jpg") as photo,
            Image.open(source / "masks" / f"{name}.png") as mask,
        ):
            side = size or photo.width
            small[name] = photo.resize((side, side)), mask.resize((side, side), Image.Resampling.NEAREST)
    masks = {name: np.asarray(mask) for name, (_, mask) in small.items()}
    count, start, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        for name in names:
            photo, mask = small[name]
            for file in (source / "images" / f"{name}.jpg", source / "masks" / f"{name}.png"):
                image = Image.open(io.BytesIO(file.read_bytes()))
                if own and size:
                    image.draft(None, (size, size))
                image.load()
            if size:
                photo.save(io.BytesIO(), "JPEG", quality=QUALITY, subsampling=0)
            if own:
                encode_ids(masks[name])
            else:
                mask.save(io.BytesIO(), "PNG", compress_level=4)
        count += len(names)
    return count / (time.perf_counter() - start), (time.process_time() - processor) / count


def pixels(source: Path, size: int, seconds: float) -> tuple[float, float]:
    """Images a second, and processor seconds an image, of all that the converter does to pixels, in this process: no records, no plan."""
    count, start, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        for name in (f"{number:06d}" for number in range(DISTINCT)):
            data = read_file(str(source / "images" / f"{name}.jpg"))
            picture = open_picture(data, MAX_PIXELS, size)
            photo = Photo(name, "", name, mask=str(source / "masks" / f"{name}.png"))
            mask = read_mask(photo, picture.size, MAX_PIXELS, Counter())
            if size:
                encode_image(crop(picture.image, size, picture.size), QUALITY)
                mask = warp_mask(mask, square(*picture.size, size), size)
            encode_ids(mask)
            Image.fromarray(mask).histogram()
        count += DISTINCT
    return count / (time.perf_counter() - start), (time.process_time() - processor) / count


def processes(session: int) -> Iterator[Path]:
    """Yield the /proc folders of a session's processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                yield folder
        except OSError:
            continue


def processor_seconds(session: int) -> float:
    """Return the processor seconds that a session's living processes have used."""
    ticks = 0
    for folder in processes(session):
        try:
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(session: int) -> float:
    """Return the memory of a session's processes, shared pages counted once, in MB."""
    total = 0
    for folder in processes(session):
        try:
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def converted(source: Path, size: int, workers: int, shard_size: int, memory: bool = False) -> Run:
    """Convert a folder in a session of its own and watch its time, and with `memory` that too."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-c", CHILD, str(source), f"{output}/out", str(size), str(workers), str(shard_size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
            peak = [0.0]

            def watch() -> None:
                while child.poll() is None:
                    peak[0] = max(peak[0], memory_mb(child.pid))
                    time.sleep(0.5)

            if memory:
                threading.Thread(target=watch, daemon=True).start()
            marks = []
            assert child.stdout is not None
            for line in child.stdout:
                done, total = map(int, line.split())
                if total * 0.1 <= done <= total * 0.9:
                    marks.append((time.perf_counter(), done, processor_seconds(child.pid)))
        if child.returncode or len(marks) < 2:
            raise SystemExit(f"the conversion ended with {child.returncode} and {len(marks)} marks; try more --photos")
    (began, first, before), (ended, last, after) = marks[0], marks[-1]
    return Run((last - first) / (ended - began), (after - before) / (last - first), peak[0])


def beside(runs: list[tuple[float, ...]], others: list[tuple[float, ...]], column: int) -> float:
    """Return the median over rounds of a figure divided by another's of the same round."""
    return statistics.median(run[column] / other[column] for run, other in zip(runs, others, strict=True))


def main() -> None:
    """Measure, in turns, and print medians: of the figures, and of their ratios to the bound of the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="side of the photos in pixels")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in the records")
    parser.add_argument(
        "--photos", type=int, default=1500, help="six shards or more, or two workers do not end together"
    )
    parser.add_argument("--shard-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind; medians count")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[1000, 10000], help="photos, of 128 px, at which memory is taken"
    )
    parser.add_argument("--pixels", action="store_true", help="only what is done in one process, no whole conversions")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    figures: dict[str, object] = {}
    table = Table("", "images/s", "CPU ms/image", "beside the bound", "of CPU", title=f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        source = make_source(Path(name) / "large", args.photos, args.side, args.seed)
        for what, size in ((f"{args.side} to {args.size} px", args.size), (f"{args.side} px kept", 0)):
            kinds: dict[str, Callable[[], tuple[float, ...]]] = {
                "bound": lambda size=size: bound(source, size, False, 3.0),
                "bound of the converter's own coders": lambda size=size: bound(source, size, True, 3.0),
                "pixels alone": lambda size=size: pixels(source, size, 3.0),
                "1 worker": lambda size=size: converted(source, size, 1, args.shard_size),
                "2 workers": lambda size=size: converted(source, size, 2, args.shard_size),
            }
            if args.pixels:
                del kinds["1 worker"], kinds["2 workers"]
            measured: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in kinds}
            for _ in range(args.rounds):
                for kind, run in kinds.items():
                    measured[kind].append(run())
            medians = {
                kind: [statistics.median(run[i] for run in runs) for i in (0, 1)] for kind, runs in measured.items()
            }
            for kind, (rate, processor) in medians.items():
                ratio, cpu_ratio = (
                    beside(measured[kind], measured["bound"], 0),
                    1 / beside(measured[kind], measured["bound"], 1),
                )
                table.add_row(
                    f"{what}: {kind}", f"{rate:.0f}", f"{1e3 * processor:.2f}", f"{ratio:.2f}", f"{cpu_ratio:.2f}"
                )
                figures[f"{what}, {kind}"] = {
                    "images_per_second": round(rate, 1), "cpu_ms": round(1e3 * processor, 3),
                    "ratio": round(ratio, 3), "cpu_ratio": round(cpu_ratio, 3),
                }  # fmt: skip
            if not args.pixels:
                figures[f"{what}, 2 workers beside 1"] = round(
                    beside(measured["2 workers"], measured["1 worker"], 0), 2
                )
        for count in args.memory:
            small = make_source(Path(name) / f"small{count}", count, 128, args.seed)
            figures[f"peak memory in MB at {count} photos, 2 workers"] = round(
                converted(small, 64, 2, args.shard_size, memory=True).memory
            )
    Console(stderr=True).print(table)
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "convert", **vars(args), **machine, **figures}, indent=1))


if __name__ == "__main__":
    main()
