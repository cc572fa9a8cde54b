"""What has no peer: seconds until the first step, until an edited file and until a model is loaded, each in a new process on all cores."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Seconds = dict[str, float]
"""What passed on the wall and what the processor gave."""


def first_step() -> Seconds:
    """From `fit` to the end of the first joint step of `drawn-64`, on random images."""
    from seghgan_tf import quiet

    quiet.start_tensorflow()
    import keras
    import tensorflow as tf

    from seghgan_tf.config import read_config
    from seghgan_tf.training import run as training

    config = read_config("drawn-64", ("model.segmenter_steps=0", "model.paired_steps=0"))
    training.choose_strategy()
    model, size, batch = training.build(config), config.model.image_size, config.training.batch_size
    image = tf.random.stateless_uniform((batch, size, size, 3), (0, 0), -1.0, 1.0)
    expression = tf.random.stateless_uniform((batch, config.model.space.size), (0, 1))
    face = {"image": image, "expression": expression, "target_image": image, "target_expression": expression}
    mask = tf.random.stateless_uniform((batch, size, size), (0, 2), 0, 19, tf.int32)
    data = tf.data.Dataset.from_tensors({"expression": face, "segmentation": {"image": image, "mask": mask}}).repeat()
    ended: list[Seconds] = []

    class Ends(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            ended.append(now())

    began = now()
    model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[Ends()])
    return {name: ended[0][name] - began[name] for name in began}


def load() -> Seconds:
    """`Editor.from_preset`, TensorFlow being there."""
    from seghgan_tf import quiet

    quiet.start_tensorflow()
    from seghgan_tf.editing import Editor

    began = now()
    Editor.from_preset()
    return {name: value - began[name] for name, value in now().items()}


def edit() -> Seconds:
    """`seghgan edit PHOTO` with the packaged model, from the start of the process to its end; scikit-image's photo of an astronaut."""
    from PIL import Image
    from skimage.data import astronaut

    with tempfile.TemporaryDirectory() as name:
        photo = Path(name) / "astronaut.png"
        Image.fromarray(astronaut()).save(photo)
        asked = ["edit", str(photo), "--out", f"{name}/edited.png", "--emotion", "happy"]
        run = "from seghgan_tf.cli import main; main()"
        began = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", run, *asked], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"`seghgan edit` ended with {status}")
        return {"wall": time.perf_counter() - began, "processor": used.ru_utime + used.ru_stime}


def now() -> Seconds:
    """Read both clocks."""
    return {"wall": time.perf_counter(), "processor": time.process_time()}


STARTS = {"first-step": first_step, "edit": edit, "load": load}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=STARTS)
    print(json.dumps(STARTS[parser.parse_args().what]()))
