"""What each form of a packaged model takes, and what an edit costs by its size: size on disk, load, calls, memory, difference.

    python benchmarks/forms.py                   # keeps results/forms.json and writes the tables of docs/serving.md
    python benchmarks/forms.py --preset drawn-64 --rounds 3   # printed and not kept

Each form has a process of its own, on one core, in turns, and what counts is its processor time: medians of three turns
of `--rounds` calls. Edits are those of sixteen drawn people (`seghgan_tf.likeness`), compared with the plain export's.
LiteRT runs in TensorFlow's interpreter, or in ai-edge-litert with `--litert-python PYTHON`, where memory then is that of a process without TensorFlow.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "forms.json", ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- made by benchmarks/forms.py -->", "<!-- end of what benchmarks/forms.py made -->"
FORMS = {
    "plain": ("`seghgan export`", "whoever reads it with `tf.saved_model.load`"),
    "optimized": ("`seghgan export --optimize`", "servers, ours and TensorFlow Serving: starts, swaps and memory"),
    "openvino": ("OpenVINO, float32", "x86 machines without TensorFlow"),
    "openvino-bf16": ("OpenVINO, bfloat16", "nobody: edits differ visibly"),
    "litert": ("`seghgan export --litert`", "phones and small machines; an edit at a time, no face finder"),
}
TURNS = 3
"""How often each form is measured, in turns with the others, each time in a new process."""

Edit = Callable[[dict[str, Any]], Any]


def load(form: str, folder: Path) -> Edit:
    """Load a form from where `main` wrote it, and return its edit: arrays by name in, the edited images out."""
    if form == "litert":
        return load_litert(folder / "edit.tflite")
    if form.startswith("openvino"):
        return load_openvino(folder / "plain" / "1", "bf16" if form.endswith("bf16") else "f32")
    import tensorflow as tf

    from serving.server.servable import Servable

    tf.config.threading.set_intra_op_parallelism_threads(1)
    served = Servable("seghgan", 1, folder / form / "1", None, warmup=False)
    return lambda asked: served.endpoint("serving_default").run(asked, alone=True)["edited"]


def load_litert(file: Path) -> Edit:
    """Load a LiteRT file into ai-edge-litert's interpreter where it is installed, else into TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter
    run = Interpreter(str(file), num_threads=1).get_signature_runner("edit")

    def edit(asked: dict[str, Any]) -> Any:
        count = len(asked["image"])
        return np.concatenate([run(**{k: v[i : i + 1] for k, v in asked.items()})["edited"] for i in range(count)])

    return edit


def load_openvino(folder: Path, precision: str) -> Edit:
    """Convert an export's `serving_default` with OpenVINO and compile it."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(openvino.convert_model(folder), "CPU", options)
    names = [next(iter(port.get_names())).removesuffix(":0") for port in compiled.inputs]
    (edited,) = [port for port in compiled.outputs if "edited" in port.get_names()]
    return lambda asked: compiled([asked[name] for name in names])[edited]


def timed(edit: Edit, asked: dict[str, Any], rounds: int) -> float:
    """Return the median of processor time of a call, in milliseconds."""
    taken = []
    for _ in range(rounds + 1):
        before = time.process_time()
        edit(asked)
        taken.append(1e3 * (time.process_time() - before))
    return round(statistics.median(taken[1:]), 1)


def measured(form: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Measure a form in this process; the edits themselves are kept in `folder` for the comparison."""
    asked = dict(np.load(folder / "asked.npz"))
    if form in ("plain", "optimized"):
        import serving.server.servable  # noqa: F401 - TensorFlow's own import is no part of a load
    elif form.startswith("openvino"):
        import openvino  # noqa: F401
    before = time.process_time()
    edit = load(form, folder)
    edit({name: value[:1] for name, value in asked.items()})
    loaded = time.process_time() - before
    one, eight = ({name: value[:count] for name, value in asked.items()} for count in (1, 8))
    edits = [edit({name: value[i : i + 1] for name, value in asked.items()}) for i in range(len(asked["image"]))]
    np.save(folder / f"edits-{form}.npy", np.concatenate(edits))
    found = {
        "load_s": round(loaded, 2),
        "one_ms": timed(edit, one, rounds),
        "eight_ms": timed(edit, eight, max(3, rounds // 3)),
    }
    return found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}  # fmt: skip


def scaled(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure `edit_bytes` of the optimized export, a face's field made at the model's size and applied at the photo's."""
    import tensorflow as tf

    from seghgan_tf.photos import to_png
    from serving.server.servable import Servable

    asked, rows = dict(np.load(folder / "asked.npz")), []
    tf.config.threading.set_intra_op_parallelism_threads(1)
    served = Servable("seghgan", 1, folder / "optimized" / "1", None, warmup=False).endpoint("edit_bytes")
    for side in (64, 128, 256, 512, 1024):
        pixels = tf.image.resize(asked["image"][0] * 127.5 + 127.5, (side, side)).numpy().astype(np.uint8)
        share = asked["image"].shape[1] / side
        for count in (1, 8):
            for regions in ("whole", "mouth"):
                rows_of = np.float32([[1, 0, 0, 0] if regions == "whole" else [0, 0, 0, 1]] * count)
                inputs = {
                    "image_bytes": np.array([to_png(pixels)] * count, object), "expression": asked["expression"][:count],
                    "frames": np.float32([[[share, 0, 0], [0, share, 0]]] * count), "regions": rows_of,
                    "jpeg_quality": np.full(count, 90, np.int32),
                }  # fmt: skip
                ms = timed(lambda given: served.run(given, alone=True), inputs, rounds if count == 1 else 3)
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
                rows.append({"side": side, "batch": count, "regions": regions, "ms": ms, "peak_mb": peak})
    return rows


def write_forms(preset: str, folder: Path) -> None:
    """Write what the measured processes load: exports, the LiteRT file, and the requests."""
    from seghgan_tf.export import export
    from seghgan_tf.likeness import drawn_requests
    from seghgan_tf.litert import write_litert
    from seghgan_tf.model import SegHGAN

    model = SegHGAN.from_preset(preset)
    export(model, folder / "plain")
    export(model, folder / "optimized", optimize=True)
    write_litert(model, folder / "edit.tflite")
    requests = drawn_requests(model.config)
    np.savez(folder / "asked.npz", **{name: np.concatenate([one[name] for one in requests]) for name in requests[0]})


def tables(figures: dict[str, Any]) -> str:
    """Return both tables in Markdown, below the machine they were measured on."""
    machine = figures["machine"]
    lines = [
        f"{machine['processor']}, one core, Python {machine['python']}, {machine['date']}, load {machine['load']}, `{machine['command']}`; `{machine['preset']}`.",
        "",
        "| form | for whom | MB on disk | load and first edit, s | one edit, ms | 8 edits, ms | peak MB | largest difference, of 255 |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for form, row in figures["forms"].items():
        name, whom = FORMS[form]
        lines.append(
            f"| {name} | {whom} | {row['disk_mb']} | {row['load_s']} | {row['one_ms']} | {row['eight_ms']} | {row['peak_mb']:,} | {row['difference']} |"
        )
    lines += [
        "",
        "`edit_bytes` of the optimized export, by the side of a photo that a face fills: all of it or the mouth alone, one photo or eight; the process's peak so far, rows in order.",
        "",
        "| photo's side, px | 1 photo, whole, ms | 1, mouth, ms | 8, whole, ms | 8, mouth, ms | peak MB so far |",
    ]
    lines += ["|--:|--:|--:|--:|--:|--:|"]
    for side in sorted({row["side"] for row in figures["sizes"]}):
        of_side = [row for row in figures["sizes"] if row["side"] == side]
        cells = " | ".join(str(row["ms"]) for row in of_side)
        lines.append(f"| {side} | {cells} | {of_side[-1]['peak_mb']:,} |")
    return "\n".join(lines) + "\n"


def child(python: str, *words: str) -> Any:
    """Run this program in a process of its own and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([python, __file__, *words], env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def size_of(form: str, folder: Path) -> float:
    """Return the megabytes that a form takes on disk; OpenVINO reads the plain export."""
    place = folder / "edit.tflite" if form == "litert" else folder / ("optimized" if form == "optimized" else "plain")
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def main() -> None:
    """Measure all forms, print, and keep where nothing else was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="portrait-128", help="which packaged model")
    parser.add_argument("--rounds", type=int, default=9, help="calls that are timed")
    parser.add_argument("--litert-python", default=sys.executable, help="a Python that has numpy and ai-edge-litert")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help="what the program calls itself with")
    given = parser.parse_args()
    if given.child:
        what, folder = given.child[0], Path(given.child[1])
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        if what == "write":
            write_forms(given.preset, folder)
        else:
            print(json.dumps(scaled(folder, given.rounds) if what == "sizes" else measured(what, folder, given.rounds)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, more = Path(name), ("--rounds", str(given.rounds), "--preset", given.preset)
        child(sys.executable, "--child", "write", name, *more)
        turns: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
        for _ in range(TURNS):
            for form, found in turns.items():
                python = given.litert_python if form == "litert" else sys.executable
                found.append(child(python, "--child", form, name, *more))
        forms = {}
        for form, found in turns.items():
            pair = [np.clip(np.load(folder / f"edits-{one}.npy"), -1, 1) for one in ("plain", form)]
            forms[form] = {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
            forms[form] |= {"disk_mb": size_of(form, folder)}
            forms[form]["difference"] = round(float(127.5 * np.abs(pair[0] - pair[1]).max()), 3)
        sizes = child(sys.executable, "--child", "sizes", name, *more)
    processor = next(
        line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    other = given.litert_python != sys.executable
    machine = {
        "processor": processor, "python": platform.python_version(), "date": time.strftime("%Y-%m-%d"), "preset": given.preset,
        "load": round(os.getloadavg()[0], 1), "command": f"python benchmarks/forms.py --rounds {given.rounds}" + (" --litert-python PYTHON" if other else ""),
    }  # fmt: skip
    figures = {"machine": machine, "forms": forms, "sizes": sizes}
    print(tables(figures))
    if given.preset == parser.get_default("preset"):
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{tables(figures)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
