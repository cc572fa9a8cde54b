"""SegHGAN: one Keras model whose `train_step` trains the segmenter, the generators and the critics together."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import keras
import tensorflow as tf

from seghgan_tf.config import ModelConfig
from seghgan_tf.data.augment import augment
from seghgan_tf.model import checkpoint, losses, objectives, optimizer
from seghgan_tf.model.field import apply_field, grow
from seghgan_tf.model.hierarchy import Part, shares
from seghgan_tf.model.inference import EditingModel
from seghgan_tf.model.layers import cut
from seghgan_tf.model.segmenters import SEGMENTERS
from seghgan_tf.regions import CLASSES, REGIONS

LOSS_NAMES = (
    "segmentation", "adversarial", "expression", "cycle", "attention", "attention_variation", "paired",
    "critic", "gradient_penalty", "critic_expression", "gan_gradient_norm", "segmentation_gradient_norm",
    *(f"area_{name}" for name in REGIONS),
)  # fmt: skip
"""What training logs: unweighted means, gradient norms on the segmenter, and each region's share of the image."""

Stage = Literal["segmenter", "paired", "joint"]
"""What a step trains: the segmenter alone; all but the critics' sense of what is real, on true targets; or everything."""


@keras.saving.register_keras_serializable("seghgan")
class SegHGAN(EditingModel):
    """A face segmenter that conditions a hierarchical GAN, and that the GAN's gradients train in turn.

    After the idea of Bodur, Bhattarai and Kim (2021, arXiv 2112.04603); the choices are those of docs/architecture.md.
    Images are float32 (B, S, S, 3) in [-1, 1]; expressions are float32 (B, N) in the range of `config.space`.

    >>> model = SegHGAN({"image_size": 32, "segmenter": "unet", "segmenter_width": 4, "generator_width": 4,
    ...                  "generator_blocks": 1, "local_width": 4, "local_blocks": 1, "critic_width": 4})
    >>> image = tf.zeros((1, 32, 32, 3))
    >>> model.edit(image, delta=tf.zeros((1, 17))).shape
    TensorShape([1, 32, 32, 3])
    """

    def __init__(self, config: ModelConfig | Mapping[str, Any], name: str = "seghgan") -> None:
        super().__init__(config, name=name)
        self.averages = [
            keras.Variable(weight, trainable=False, aggregation="only_first_replica", name=f"average{i}")
            for i, weight in enumerate(self.role_variables("generator"))
        ]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in LOSS_NAMES}
        self.miou = keras.metrics.MeanIoU(len(CLASSES), sparse_y_pred=False, name="miou")
        self.stage: Stage = "joint"
        self.built = True

    @classmethod
    def from_preset(cls, preset: str | Path) -> Self:
        """Make a trained model: one that comes with the package, by name, or an `.npz` file with its `.json` beside it.

        Raises ValueError for an unknown name and for weights of another model.

        >>> SegHGAN.from_preset("drawn-64").config.image_size
        64
        """
        path = checkpoint.path_of(preset)
        model = cls(ModelConfig.from_stored(checkpoint.facts(path)["model"]))
        checkpoint.load(model, path)
        return model

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Every metric that training and evaluation report."""
        return [*self.trackers.values(), self.miou]

    @property
    def steps_done(self) -> int:
        """How many steps the model has been trained, its segmenter's own stage included."""
        return int(tf.convert_to_tensor(self.optimizer.iterations.value))

    def begin(self, stage: Stage) -> None:
        """Let the following `fit` train and measure what `stage` says."""
        self.stage, self.train_function, self.test_function = stage, None, None

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Measure as `keras.Model.evaluate` does, with the generators that evaluation and export use: the averaged ones."""
        with self.averaged():
            return super().evaluate(*args, **kwargs)

    def train_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Update what the stage trains once, from `batch["expression"]` and `batch["segmentation"]`, floats or as the loader reads them."""
        batch = {name: augment(part) for name, part in batch.items()}
        with tf.GradientTape() as segmentation_tape:
            segmentation = optimizer.average_loss(self._segmentation_loss(batch["segmentation"], training=True))
        segmenter = optimizer.tensors(self.role_variables("segmenter"))
        learned = optimizer.reduced(segmentation_tape.gradient(segmentation, segmenter))
        if self.stage != "segmenter":
            for_generators, for_segmenter = self._gan_gradients(batch["expression"])
            self._apply("generator", for_generators)
            cap = self.config.segmenter_gradient_cap
            learned, norms = optimizer.capped_sum(learned, optimizer.reduced(for_segmenter), cap)
            self._track(norms)
            self._update_averages()
        self._apply("segmenter", optimizer.averaged_over_replicas(learned))
        self.optimizer.iterations.assign_add(1)
        return self.results()

    def _gan_gradients(self, faces: Mapping[str, tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Train the critics, then return the generators' loss's gradients on generators and segmenter."""
        *earlier, last = self._critic_slices(faces)
        for i, face in enumerate(earlier if self.stage == "joint" else ()):
            parts = self.find_parts(self.probabilities(face["image"]))
            field = self._fused(face["image"], face["target_expression"], parts)
            self.train_critics(face, parts, apply_field(face["image"], field), i + 1)
        generators, segmenter = (optimizer.tensors(self.role_variables(role)) for role in ("generator", "segmenter"))
        with tf.GradientTape() as tape:
            parts = self.find_parts(self.probabilities(last["image"]))
            field = self._fused(last["image"], last["target_expression"], parts)
            with tape.stop_recording():
                self.train_critics(last, parts, apply_field(last["image"], field), 0)
            gan = optimizer.average_loss(self._generator_loss(last, parts, field))
        return tape.gradient(gan, (generators, segmenter), unconnected_gradients="zero")

    def test_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Measure the losses of the stage without an update."""
        batch = {name: augment(part) for name, part in batch.items()}
        self._segmentation_loss(batch["segmentation"], training=False)
        if self.stage == "segmenter":
            return self.results()
        face = self._prepared(batch["expression"])
        parts = self.find_parts(self.probabilities(face["image"]))
        self._generator_loss(face, parts, self._fused(face["image"], face["target_expression"], parts))
        return self.results()

    def train_critics(
        self, face: Mapping[str, tf.Tensor], parts: Mapping[str, Part], edited: tf.Tensor, turn: int
    ) -> None:
        """Update the critics once on real `face["image"]` against `edited` images; `turn` varies the penalty's mixing.

        In the "paired" stage they learn to recognise expressions alone, from the real images.
        """
        weights, one_hot = self.config.losses, self.config.space.one_hot
        critics = optimizer.tensors(self.role_variables("critic"))
        with tf.GradientTape() as tape:
            if self.stage == "paired":
                total, named = objectives.recognition_loss(self._views(parts), face, weights, one_hot)
            else:
                mix = self._mix(edited, turn)
                total, named = objectives.critic_loss(self._views(parts), face, edited, mix, weights, one_hot)
            loss = optimizer.average_loss(total)
        self._track(named)
        self._apply("critic", tape.gradient(loss, critics, unconnected_gradients="zero"))

    def _generator_loss(self, face: Mapping[str, tf.Tensor], parts: Mapping[str, Part], field: tf.Tensor) -> tf.Tensor:
        if self.stage == "paired" and "target_photo" not in face:
            raise ValueError(
                "`paired_steps` must be 0 because these records carry no true targets; drawn faces and pairs by person do. "
                f"Received: {self.config.paired_steps}"
            )
        weights, photo, side = self.config.losses, face["photo"], face["photo"].shape[1]
        edited = apply_field(face["image"], field)
        large = edited if side == self.config.image_size else apply_field(photo, grow(field, side, side))
        total, named = objectives.paired_loss(face, large, field[..., :1], weights)
        self._track(named)
        if self.stage == "joint":
            back = apply_field(edited, self._fused(edited, face["expression"], parts))
            judged, named = objectives.adversarial_loss(
                self._views(parts), face, edited, back, weights, self.config.space.one_hot
            )
            self._track(named)
            total += judged
        return total

    def _segmentation_loss(self, labelled: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        image, mask = labelled["image"], labelled["mask"]
        times = image.shape[1] // self.config.image_size
        if times > 1:
            image, mask = tf.nn.avg_pool2d(image, times, times, "VALID"), mask[:, ::times, ::times]
        heads = tf.nest.flatten(self.segmenter(image, training=training))
        hard = SEGMENTERS[self.config.segmenter].hard
        total, named = objectives.segmentation_loss(heads, mask, self.config.losses, hard)
        probabilities = tf.nn.softmax(heads[0])
        self.miou.update_state(mask, probabilities)
        self._track(named | {f"area_{name}": losses.per_example(shares(probabilities, name)) for name in REGIONS})
        return total

    def _views(self, parts: Mapping[str, Part]) -> Iterator[objectives.View]:
        """Yield each critic with the view it judges, the labels it can see (None: all) and its weight."""
        yield objectives.View(self.critic, tf.identity, None, 1.0)
        for name, part in parts.items():
            look = functools.partial(cut, indices=part.indices)
            yield objectives.View(self.local_critics[name], look, self.visible[name], self.config.losses.local)

    def _critic_slices(self, faces: Mapping[str, tf.Tensor]) -> list[dict[str, tf.Tensor]]:
        count, steps = faces["image"].shape[0], self.config.critic_steps
        if count is not None and count % steps:
            raise ValueError(
                f"the expression batch must be a multiple of `critic_steps`, because each critic update takes a slice. Received: {count} and {steps}"
            )
        slices = {name: tf.split(value, steps) for name, value in self._prepared(faces).items()}
        return [{name: values[i] for name, values in slices.items()} for i in range(steps)]

    def _prepared(self, faces: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the faces at the model's size, beside the photos of the batch's own, which may be larger.

        Without a given target, each face is asked for its neighbour's expression: a real one, as in GANimation.
        """
        face = {"target_expression": tf.roll(faces["expression"], 1, 0), **faces}
        if "target_image" in face:
            face["target_photo"] = face.pop("target_image")
        face["photo"] = face["image"]
        times = face["photo"].shape[1] // self.config.image_size
        return face if times == 1 else face | {"image": tf.nn.avg_pool2d(face["photo"], times, times, "VALID")}

    def _mix(self, edited: tf.Tensor, turn: int) -> tf.Tensor:
        """Draw the penalty's mixing factors of this step, the same for an example on one or many replicas."""
        step = tf.cast(self.optimizer.iterations, tf.int32)
        seed = tf.stack([tf.constant(self.config.seed, tf.int32) + 7919 * turn, step])
        first, everyone = optimizer.share_of_batch(edited)
        mix = tf.random.stateless_uniform((everyone, 1, 1, 1), seed)
        return mix[first : first + tf.shape(edited)[0]]

    def _apply(self, role: str, gradients: list[tf.Tensor]) -> None:
        optimizer.optimizer_of(self.optimizer, role).apply(gradients, self.role_variables(role))

    def _track(self, values: Mapping[str, tf.Tensor]) -> None:
        for name, value in values.items():
            self.trackers[name].update_state(value)

    def _update_averages(self) -> None:
        done = tf.cast(self.optimizer.iterations, tf.float32) - self.config.segmenter_steps
        decay = tf.minimum(self.config.average_decay, (1.0 + done) / (10.0 + done))
        for average, weight in zip(self.averages, self.role_variables("generator"), strict=True):
            average.assign(decay * average + (1.0 - decay) * weight)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the generators' running average in place of their weights for the time of a `with` block."""
        weights = self.role_variables("generator")
        live = [weight.numpy() for weight in weights]
        for weight, average in zip(weights, self.averages, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(weights, live, strict=True):
                weight.assign(value)
