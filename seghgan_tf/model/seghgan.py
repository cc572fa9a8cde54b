"""SegHGAN: one Keras model whose `train_step` trains the segmenter, the generators and the critics together."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from seghgan_tf.config import ModelConfig
from seghgan_tf.expressions import AU_REGIONS, AUS
from seghgan_tf.model import losses
from seghgan_tf.model.bisenet import bisenet
from seghgan_tf.model.critic import critic
from seghgan_tf.model.generator import generator
from seghgan_tf.model.layers import blend, cut, dilate, paste, planes, window_corner, window_indices
from seghgan_tf.model.unet import unet
from seghgan_tf.regions import CLASSES, REGIONS

REGION_NAMES = ("whole", *REGIONS)
"""Columns of the `regions` input of `call`: the whole image, then each region."""

LOSS_NAMES = (
    "segmentation", "adversarial", "expression", "cycle", "attention", "attention_variation", "paired",
    "critic", "gradient_penalty", "critic_expression", "gan_gradient_norm", "segmentation_gradient_norm",
    *(f"area_{name}" for name in REGIONS),
)  # fmt: skip
"""What training logs: unweighted means, gradient norms on the segmenter, and each region's share of the image."""


class Edit(NamedTuple):
    """What the generators made of an image: `edited` (B, S, S, 3) and the fused `attention` (B, S, S, 1)."""

    edited: tf.Tensor
    attention: tf.Tensor


class Part(NamedTuple):
    """A region in a batch: its soft mask (B, S, S, 1) and the pixel indices of its window."""

    mask: tf.Tensor
    indices: tf.Tensor


def role_optimizer(generators: Any, critics: Any, segmenter: Any) -> keras.optimizers.MultiOptimizer:
    """Join three Keras optimizers into the one that `SegHGAN.compile` takes; each serves the variables of its role."""
    generators.name, critics.name, segmenter.name = "generator", "critic", "segmenter"
    roles = {"critic.*": critics, "segmenter/.*": segmenter}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(generators, roles))


@keras.saving.register_keras_serializable("seghgan")
class SegHGAN(keras.Model):
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
        super().__init__(name=name)
        self.config = config = ModelConfig.model_validate(config)
        size, space = config.image_size, config.space
        self.windows = {
            name: (4 * round(size * region.window[0] / 4), 4 * round(size * region.window[1] / 4))
            for name, region in REGIONS.items()
        }
        channels = 3 + space.size
        masks = 0 if config.regions == "none" else len(REGIONS)
        self.local_generators, self.local_critics, self.visible = {}, {}, {}
        with keras.name_scope("segmenter"):
            build = unet if config.segmenter == "unet" else bisenet
            self.segmenter = build(size, len(CLASSES), config.segmenter_width)
        with keras.name_scope("generator"):
            width, blocks = config.generator_width, config.generator_blocks
            self.generator = generator(size, size, channels + masks, width, blocks, "generator")
        with keras.name_scope("critic"):
            self.critic = critic(size, size, space.size, config.critic_width, "critic")
        for region in REGIONS if masks else ():
            window = self.windows[region]
            with keras.name_scope(f"generator_{region}"):
                width, blocks = config.local_width, config.local_blocks
                self.local_generators[region] = generator(*window, channels, width, blocks, f"generator_{region}")
            with keras.name_scope(f"critic_{region}"):
                self.local_critics[region] = critic(*window, space.size, config.critic_width, f"critic_{region}")
            seen = [label not in AUS or label in AU_REGIONS[region] for label in space.labels]
            self.visible[region] = tf.constant(seen, tf.float32)
        self.averages = [
            keras.Variable(weight, trainable=False, aggregation="only_first_replica", name=f"average{i}")
            for i, weight in enumerate(self.role_variables("generator"))
        ]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in LOSS_NAMES}
        self.miou = keras.metrics.MeanIoU(len(CLASSES), sparse_y_pred=False, name="miou")
        self.stage = "joint"
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__` as plain values."""
        return {"config": self.config.model_dump(mode="json"), "name": self.name}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Every metric that training and evaluation report."""
        return [*self.trackers.values(), self.miou]

    @property
    def steps_done(self) -> int:
        """How many steps the model has been trained, its segmenter's own stage included."""
        return int(tf.convert_to_tensor(self.optimizer.iterations.value))

    def role_variables(self, role: str) -> list[keras.Variable]:
        """Return the trainable variables of "segmenter", "generator" or "critic" (regions included)."""
        networks = {
            "segmenter": (self.segmenter,),
            "generator": (self.generator, *self.local_generators.values()),
            "critic": (self.critic, *self.local_critics.values()),
        }[role]
        return [variable for network in networks for variable in network.trainable_variables]

    # Inference

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Edit `image` (B, S, S, 3) to `expression` (B, N) within `regions` (B, 4: whole, eyes, nose, mouth; 1 = may change).

        Without `regions` the whole image may change. Returns `edited` (B, S, S, 3) and `attention` (B, S, S, 1). Pixels
        outside the chosen regions' masks are bit-equal to the input.
        """
        image = inputs["image"]
        probabilities = self.probabilities(image)
        edited, attention = self._generate(image, inputs["expression"], self._parts(probabilities))
        if "regions" not in inputs:
            return {"edited": edited, "attention": attention}
        chosen = inputs["regions"][:, None, None, :]
        masks = self.soft_masks(probabilities)
        reach = tf.reduce_max(chosen[..., 1:] * tf.concat([masks[name] for name in REGIONS], -1), -1, keepdims=True)
        reach = tf.where(chosen[..., :1] > 0, 1.0, tf.clip_by_value((reach - 0.1) / 0.8, 0.0, 1.0))
        edited = tf.where(reach > 0, image + reach * (edited - image), image)
        return {"edited": edited, "attention": tf.where(reach > 0, attention, 1.0)}

    def edit(
        self,
        image: tf.Tensor,
        expression: tf.Tensor | None = None,
        *,
        delta: tf.Tensor | None = None,
        regions: Sequence[str] | None = None,
    ) -> tf.Tensor:
        """Edit `image` to an absolute `expression`, or by a `delta` on the expression that `analyze` sees in it.

        `regions` limits the edit to those regions' dilated masks. A zero `delta` returns the input unchanged.
        Raises ValueError if not exactly one of `expression` and `delta` is given, or for an unknown region.
        """
        if (expression is None) == (delta is None):
            raise ValueError(
                "`expression` or `delta` must be given, and only one of them. Received: "
                + ("neither" if delta is None else "both")
            )
        unknown = sorted(set(regions or ()) - set(REGIONS))
        if unknown:
            raise ValueError(f"`regions` must be among {', '.join(REGIONS)}. Received: {', '.join(unknown)}")
        space = self.config.space
        image = tf.convert_to_tensor(image, tf.float32)
        target = expression if delta is None else tf.clip_by_value(self.analyze(image) + delta, space.low, space.high)
        chosen = [float(name in (REGION_NAMES[:1] if regions is None else regions)) for name in REGION_NAMES]
        limits = tf.tile(tf.constant([chosen]), (tf.shape(image)[0], 1))
        edited = self({"image": image, "expression": tf.cast(target, tf.float32), "regions": limits})["edited"]
        if delta is None:
            return edited
        return tf.where(tf.reduce_all(tf.equal(delta, 0), -1)[:, None, None, None], image, edited)

    def probabilities(self, image: tf.Tensor) -> tf.Tensor:
        """Return the segmenter's class probabilities (B, S, S, 19)."""
        return tf.nn.softmax(tf.nest.flatten(self.segmenter(image, training=False))[0])

    def segment(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `labels` uint8 (B, S, S), the likeliest classes, and `regions` (B, S, S, 3), the soft masks."""
        probabilities = self.probabilities(image)
        masks = self.soft_masks(probabilities)
        labels = tf.cast(tf.argmax(probabilities, -1, output_type=tf.int32), tf.uint8)
        return {"labels": labels, "regions": tf.concat([masks[name] for name in REGIONS], -1)}

    def analyze(self, image: tf.Tensor) -> tf.Tensor:
        """Return the expression (B, N) that the critic's expression head sees, within the space's range."""
        seen, space = self.critic(image)["expression"], self.config.space
        return tf.nn.softmax(seen) if space.one_hot else tf.clip_by_value(seen, space.low, space.high)

    def soft_masks(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return each region's dilated soft mask (B, S, S, 1): the sum of its classes' probabilities, grown."""
        radius = round(self.config.dilation * self.config.image_size)
        return {name: dilate(self._share(probabilities, name), radius) for name in REGIONS}

    @staticmethod
    def _share(probabilities: tf.Tensor, region: str) -> tf.Tensor:
        return tf.add_n([probabilities[..., i : i + 1] for i in REGIONS[region].classes])

    def _parts(self, probabilities: tf.Tensor) -> dict[str, Part]:
        if self.config.regions == "none":
            return {}
        if self.config.regions != "joint":
            probabilities = tf.stop_gradient(probabilities)
        masks, parts = self.soft_masks(probabilities), {}
        for name, window in self.windows.items():
            corner = window_corner(self._share(probabilities, name), window, REGIONS[name].center)
            indices = window_indices(corner, window)
            if self.config.regions == "boxes":
                masks[name] = paste(tf.ones_like(indices[..., :1], tf.float32), indices, probabilities)
            parts[name] = Part(masks[name], indices)
        return parts

    def _generate(self, image: tf.Tensor, expression: tf.Tensor, parts: Mapping[str, Part]) -> Edit:
        """Run the global generator, then each region's in its window, and fuse: x_g + sum of m_r (x_r - x_g)."""
        masks = [part.mask for part in parts.values()]
        whole = self.generator(tf.concat([image, planes(expression, image), *masks], -1))
        whole_image = edited = blend(image, whole["attention"], whole["color"])
        attention = whole["attention"]
        cover = tf.maximum(tf.add_n(masks), 1.0) if masks else None
        for name, (mask, indices) in parts.items():
            window, soft = cut(image, indices), cut(mask, indices)
            local = self.local_generators[name](tf.concat([soft * window, planes(expression, window)], -1))
            share = soft / cut(cover, indices)
            change = blend(window, local["attention"], local["color"]) - cut(whole_image, indices)
            edited += paste(share * change, indices, image)
            attention += paste(share * (local["attention"] - cut(whole["attention"], indices)), indices, image)
        return Edit(edited, attention)

    # Training

    def fit(self, *args: Any, callbacks: Sequence[keras.callbacks.Callback] | None = None, **kwargs: Any) -> Any:
        """Train as `keras.Model.fit` does; the first `segmenter_steps` steps train the segmenter alone."""
        return super().fit(*args, callbacks=[_SegmenterStage(), *(callbacks or ())], **kwargs)

    def train_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Update critics, generators and segmenter once from `batch["expression"]` and `batch["segmentation"]`."""
        faces, labelled = batch["expression"], batch["segmentation"]
        with tf.GradientTape() as segmentation_tape:
            segmentation = tf.nn.compute_average_loss(self._segmentation_loss(labelled, training=True))
        segmenter = self.role_variables("segmenter")
        learned = self._reduced(segmentation_tape.gradient(segmentation, _tensors(segmenter)))
        if self.stage == "segmenter":
            self._apply("segmenter", self._averaged_over_replicas(learned))
            return self._finish_step()

        *earlier, last = self._critic_slices(faces)
        for i, part in enumerate(earlier):
            parts = self._parts(self.probabilities(part["image"]))
            self.train_critics(
                part, parts, self._generate(part["image"], part["target_expression"], parts).edited, i + 1
            )
        generators = self.role_variables("generator")
        with tf.GradientTape() as tape:
            parts = self._parts(self.probabilities(last["image"]))
            edit = self._generate(last["image"], last["target_expression"], parts)
            with tape.stop_recording():
                self.train_critics(last, parts, edit.edited, 0)
            gan = tf.nn.compute_average_loss(self._generator_loss(last, parts, edit))
        sources = (_tensors(generators), _tensors(segmenter))
        for_generators, for_segmenter = tape.gradient(gan, sources, unconnected_gradients="zero")
        self._apply("generator", for_generators)
        self._apply("segmenter", self._averaged_over_replicas(self._capped_sum(learned, self._reduced(for_segmenter))))
        self._update_averages()
        return self._finish_step()

    def test_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Measure the same losses without an update."""
        self._segmentation_loss(batch["segmentation"], training=False)
        face = self._with_target(batch["expression"])
        parts = self._parts(self.probabilities(face["image"]))
        edit = self._generate(face["image"], face["target_expression"], parts)
        self._generator_loss(face, parts, edit)
        return self._results()

    def train_critics(
        self, face: Mapping[str, tf.Tensor], parts: Mapping[str, Part], edited: tf.Tensor, turn: int
    ) -> None:
        """Update the critics once on real `face["image"]` against `edited` images; `turn` varies the penalty's mixing."""
        weights, total = self.config.losses, 0.0
        mix, critics = self._mix(tf.shape(edited)[0], turn), self.role_variables("critic")
        with tf.GradientTape() as tape:
            for judge, view, visible, weight in self._judges(parts):
                real, fake = view(face["image"]), view(edited)
                seen = judge(tf.concat([real, fake], 0))
                real_realness, fake_realness = tf.split(seen["realness"], 2)
                expression = tf.split(seen["expression"], 2)[0]
                distance = losses.wasserstein(real_realness, fake_realness)
                penalty = losses.gradient_penalty(functools.partial(_realness, judge), real, fake, mix)
                error = losses.expression_error(expression, face["expression"], self.config.space.one_hot, visible)
                adversarial = weights.adversarial * (distance + weights.gradient_penalty * penalty)
                total += weight * (adversarial + weights.expression * error)
                if visible is None:
                    self._track(critic=distance, gradient_penalty=penalty, critic_expression=error)
            loss = tf.nn.compute_average_loss(total)
        self._apply("critic", tape.gradient(loss, _tensors(critics), unconnected_gradients="zero"))

    def _generator_loss(self, face: Mapping[str, tf.Tensor], parts: Mapping[str, Part], edit: Edit) -> tf.Tensor:
        weights, image, one_hot = self.config.losses, face["image"], self.config.space.one_hot
        back = self._generate(edit.edited, face["expression"], parts).edited
        values = {
            "cycle": losses.l1(back, image),
            "attention": losses.attention_use(edit.attention),
            "attention_variation": losses.total_variation(edit.attention),
        }
        if "target_image" in face:
            values["paired"] = losses.l1(edit.edited, face["target_image"])
        total = tf.add_n([getattr(weights, name) * value for name, value in values.items()])
        for judge, view, visible, weight in self._judges(parts):
            seen = judge(view(edit.edited))
            adversarial = -losses.per_example(seen["realness"])
            error = losses.expression_error(seen["expression"], face["target_expression"], one_hot, visible)
            total += weight * (weights.adversarial * adversarial + weights.expression * error)
            if visible is None:
                values |= {"adversarial": adversarial, "expression": error}
        self._track(**values)
        return total

    def _judges(self, parts: Mapping[str, Part]) -> Iterator[tuple[Any, Any, tf.Tensor | None, float]]:
        """Yield each critic with the view it judges, the labels it can see (None: all) and its weight."""
        yield self.critic, tf.identity, None, 1.0
        for name, part in parts.items():
            yield (
                self.local_critics[name],
                functools.partial(cut, indices=part.indices),
                self.visible[name],
                self.config.losses.local,
            )

    def _segmentation_loss(self, labelled: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        heads = tf.nest.flatten(self.segmenter(labelled["image"], training=training))
        threshold = self.config.losses.ohem_threshold if self.config.segmenter == "bisenet" else None
        error = tf.add_n([losses.segmentation_error(logits, labelled["mask"], threshold) for logits in heads])
        probabilities = tf.nn.softmax(heads[0])
        self.miou.update_state(labelled["mask"], probabilities)
        self._track(
            segmentation=error,
            **{f"area_{name}": losses.per_example(self._share(probabilities, name)) for name in REGIONS},
        )
        return self.config.losses.segmentation * error

    def _capped_sum(self, learned: list[tf.Tensor], from_gan: list[tf.Tensor]) -> list[tf.Tensor]:
        """Add the GAN's gradient to the segmentation's, its norm at most `segmenter_gradient_cap` times the other's."""
        own, gan = tf.linalg.global_norm(learned), tf.linalg.global_norm(from_gan)
        self._track(segmentation_gradient_norm=own, gan_gradient_norm=gan)
        cap = self.config.segmenter_gradient_cap
        scale = 1.0 if cap is None else tf.minimum(1.0, tf.math.divide_no_nan(cap * own, gan))
        return [a + scale * b for a, b in zip(learned, from_gan, strict=True)]

    def _critic_slices(self, faces: Mapping[str, tf.Tensor]) -> list[dict[str, tf.Tensor]]:
        count, steps = faces["image"].shape[0], self.config.critic_steps
        if count is not None and count % steps:
            raise ValueError(
                f"the expression batch must be a multiple of `critic_steps`, because each critic update takes a slice. Received: {count} and {steps}"
            )
        slices = {name: tf.split(value, steps) for name, value in self._with_target(faces).items()}
        return [{name: values[i] for name, values in slices.items()} for i in range(steps)]

    @staticmethod
    def _with_target(faces: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Without a given target, each face is asked for its neighbour's expression: a real one, as in GANimation."""
        return {"target_expression": tf.roll(faces["expression"], 1, 0), **faces}

    def _mix(self, count: tf.Tensor, turn: int) -> tf.Tensor:
        """Draw the penalty's mixing factors of this step, the same for an example on one or many replicas."""
        context = tf.distribute.get_replica_context()
        step = tf.cast(self.optimizer.iterations, tf.int32)
        seed = tf.stack([tf.constant(self.config.seed, tf.int32) + 7919 * turn, step])
        everyone = tf.random.stateless_uniform((context.num_replicas_in_sync * count, 1, 1, 1), seed)
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * count
        return everyone[first : first + count]

    @staticmethod
    def _reduced(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    @staticmethod
    def _averaged_over_replicas(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Undo the sum over replicas that every Keras optimizer makes, for gradients that are reduced already."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return gradients if replicas == 1 else [gradient / replicas for gradient in gradients]

    def _apply(self, role: str, gradients: list[tf.Tensor]) -> None:
        optimizers = {optimizer.name: optimizer for optimizer in getattr(self.optimizer, "optimizers", ())}
        if role not in optimizers:
            raise ValueError(
                f"`optimizer` must come from `role_optimizer`, with one optimizer a role. Received: {self.optimizer}"
            )
        optimizers[role].apply(gradients, self.role_variables(role))

    def _track(self, **values: tf.Tensor) -> None:
        for name, value in values.items():
            self.trackers[name].update_state(value)

    def _update_averages(self) -> None:
        done = tf.cast(self.optimizer.iterations, tf.float32) - self.config.segmenter_steps
        decay = tf.minimum(self.config.average_decay, (1.0 + done) / (10.0 + done))
        for average, weight in zip(self.averages, self.role_variables("generator"), strict=True):
            average.assign(decay * average + (1.0 - decay) * weight)

    def _finish_step(self) -> dict[str, tf.Tensor]:
        self.optimizer.iterations.assign_add(1)
        return self._results()

    def _results(self) -> dict[str, tf.Tensor]:
        """Return every metric's value; as (1,) in a cluster, where Keras averages over the workers along axis 0."""
        cluster = isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)
        values = {metric.name: metric.result() for metric in self.metrics}
        return {name: tf.reshape(value, (1,)) for name, value in values.items()} if cluster else values

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build nothing: every variable is there since `__init__`, and Keras's own way fails on the batches of a cluster."""

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


def _realness(judge: keras.Model, image: tf.Tensor) -> tf.Tensor:
    return judge(image)["realness"]


def _tensors(variables: list[keras.Variable]) -> list[tf.Variable]:
    """Return TensorFlow's own variables: a tape cannot make the zeros of an unconnected Keras variable."""
    return [variable.value for variable in variables]


class _SegmenterStage(keras.callbacks.Callback):
    """Switch from the segmenter's own stage to joint training once `segmenter_steps` steps are done."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.step = self.model.steps_done

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        stage = "segmenter" if self.step < self.model.config.segmenter_steps else "joint"
        self.step += 1
        if stage != self.model.stage:
            self.model.stage = stage
            self.model.make_train_function(force=True)
