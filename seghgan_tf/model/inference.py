"""The networks of the model and what they compute: masks, edit fields, edits, and the expression seen in a face."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from seghgan_tf.config import ModelConfig
from seghgan_tf.expressions import AUS
from seghgan_tf.model.cluster import ClusterFit
from seghgan_tf.model.critic import critic
from seghgan_tf.model.field import apply_field, limit
from seghgan_tf.model.generator import generator
from seghgan_tf.model.hierarchy import Part, chosen_reach, find_parts, fused_field, soft_masks, window_sizes
from seghgan_tf.model.segmenters import segmenter_for
from seghgan_tf.regions import CLASSES, COLUMNS, REGIONS, region_limits

REGION_NAMES = COLUMNS
"""Columns of the `regions` input of `call`: the whole image, then each region."""


class EditingModel(ClusterFit):
    """The segmenter, the hierarchy of generators it conditions, and the critics: everything but their training.

    Images are float32 (B, S, S, 3) in [-1, 1]; expressions are float32 (B, N) in the range of `config.space`.
    """

    def __init__(self, config: ModelConfig | Mapping[str, Any], name: str = "seghgan") -> None:
        super().__init__(name=name)
        self.config = ModelConfig.model_validate(config)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.config.precision)
        try:
            self._build_networks()
        finally:
            keras.config.set_dtype_policy(policy)

    def _build_networks(self) -> None:
        config, space, size = self.config, self.config.space, self.config.image_size
        labels, form = space.size, {"flow": config.generator == "field", "steered": config.steering == "norms"}
        masks = 0 if config.regions == "none" else len(REGIONS)
        self.local_generators, self.local_critics, self.visible = {}, {}, {}
        with keras.name_scope("segmenter"):
            self.segmenter = segmenter_for(config).build(size, len(CLASSES), config.segmenter_width)
        with keras.name_scope("generator"):
            width, blocks = config.generator_width, config.generator_blocks
            self.generator = generator(size, size, labels, masks, width, blocks, "generator", **form)
        with keras.name_scope("critic"):
            self.critic = critic(size, size, space.size, config.critic_width, "critic")
        for region, window in window_sizes(size).items() if masks else ():
            with keras.name_scope(f"generator_{region}"):
                width, blocks = config.local_width, config.local_blocks
                self.local_generators[region] = generator(
                    *window, labels, 0, width, blocks, f"generator_{region}", **form
                )
            with keras.name_scope(f"critic_{region}"):
                self.local_critics[region] = critic(*window, space.size, config.critic_width, f"critic_{region}")
            seen = [label not in AUS or label in REGIONS[region].units for label in space.labels]
            self.visible[region] = tf.constant(seen, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__` as plain values."""
        return {"config": self.config.model_dump(mode="json"), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Make a model of `get_config`'s values, those of version 0.1 included."""
        return cls(ModelConfig.from_stored(config["config"]), config["name"])

    def role_variables(self, role: str) -> list[keras.Variable]:
        """Return the trainable variables of "segmenter", "generator" or "critic" (regions included)."""
        networks = {
            "segmenter": (self.segmenter,),
            "generator": (self.generator, *self.local_generators.values()),
            "critic": (self.critic, *self.local_critics.values()),
        }[role]
        return [variable for network in networks for variable in network.trainable_variables]

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Edit `image` (B, S, S, 3) to `expression` (B, N) within `regions` (B, 4: whole, eyes, nose, mouth; 1 = may change).

        Without `regions` the whole image may change. Returns `edited` (B, S, S, 3) and `attention` (B, S, S, 1). Pixels
        outside the chosen regions' masks are bit-equal to the input.
        """
        field = self.field(inputs)
        return {"edited": apply_field(inputs["image"], field), "attention": field[..., :1]}

    def field(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the edit field (B, S, S, 6) of `call`'s inputs; it edits the photo at any size (`seghgan_tf.model.field`)."""
        image = inputs["image"]
        probabilities = self.probabilities(image)
        field = self._fused(image, inputs["expression"], self.find_parts(probabilities))
        if "regions" not in inputs:
            return field
        return limit(field, chosen_reach(probabilities, inputs["regions"], self.config.dilation))

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
        space = self.config.space
        image = tf.convert_to_tensor(image, tf.float32)
        target = expression if delta is None else tf.clip_by_value(self.analyze(image) + delta, space.low, space.high)
        limits = tf.tile(tf.constant([region_limits(regions)]), (tf.shape(image)[0], 1))
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
        masks = soft_masks(probabilities, self.config.dilation)
        labels = tf.cast(tf.argmax(probabilities, -1, output_type=tf.int32), tf.uint8)
        return {"labels": labels, "regions": tf.concat([masks[name] for name in REGIONS], -1)}

    def analyze(self, image: tf.Tensor) -> tf.Tensor:
        """Return the expression (B, N) that the critic's expression head sees, within the space's range."""
        seen, space = self.critic(image)["expression"], self.config.space
        return tf.nn.softmax(seen) if space.one_hot else tf.clip_by_value(seen, space.low, space.high)

    def find_parts(self, probabilities: tf.Tensor) -> dict[str, Part]:
        """Return each region's mask and window in class probabilities (B, S, S, 19)."""
        return find_parts(probabilities, self.config.regions, self.config.dilation)

    def _fused(self, image: tf.Tensor, expression: tf.Tensor, parts: Mapping[str, Part]) -> tf.Tensor:
        return fused_field(image, expression, parts, self.generator, self.local_generators)
