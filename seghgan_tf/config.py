"""The configuration: every setting of the model, its losses, its data and its training, checked when it is read."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from seghgan_tf.expressions import ExpressionSpace, expression_space

PRESETS = Path(__file__).parent / "presets"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LossConfig(_Settings):
    """Weights of the losses, all mean-reduced but the total variation; GANimation's values where it has one."""

    adversarial: NonNegativeFloat = 1.0
    """Wasserstein loss of the critics."""
    gradient_penalty: NonNegativeFloat = 10.0
    """WGAN-GP's penalty on the critics' gradient norm."""
    expression: NonNegativeFloat = 160.0
    """Mean squared error of the expression head; of one-hot spaces the cross-entropy, whose weight is 1 where none is set."""
    cycle: NonNegativeFloat = 10.0
    """L1 between the image and the edit of its edit back to the source expression."""
    attention: NonNegativeFloat = 0.1
    """Mean of 1 - attention: what is repainted without need. It must be felt for the flow to be used."""
    attention_variation: NonNegativeFloat = 1e-5
    """Total variation of the attention, summed over pixels."""
    local: NonNegativeFloat = 1.0
    """Weight of the region critics beside the critic of the whole image."""
    paired: NonNegativeFloat = 0.0
    """L1 to the true target, where records carry one (drawn faces, pairs by person)."""
    paired_sizes: int = Field(default=4, ge=1, le=6)
    """How many sizes the paired L1 is taken at: full, half, quarter, eighth, ..."""
    segmentation: NonNegativeFloat = 1.0
    """Cross-entropy of the segmenter and of its auxiliary heads."""
    ohem_threshold: float = Field(default=0.7, gt=0, le=1)
    """BiSeNet learns from pixels whose true class has less than this probability."""


class ModelConfig(_Settings):
    """What the networks are; saved with the weights."""

    image_size: int = Field(default=128, ge=32, le=1024)
    """Side of the square images, in pixels; a multiple of 16 (of 32 with BiSeNet)."""
    expression_space: str = "aus"
    """`aus`, `emotions`, `va`, or action units joined by commas."""
    unproven: tuple[str, ...] = ()
    """Labels that the trained model was not shown to obey; who asks for one by name is refused."""
    regions: Literal["none", "boxes", "frozen", "joint"] = "joint"
    """Global generator only; boxes around the regions; soft masks; soft masks through which the GAN trains the segmenter."""
    generator: Literal["field", "paint"] = "field"
    """What the generators return: attention, flow and paint; or no flow, which is GANimation's form."""
    steering: Literal["norms", "planes"] = "norms"
    """How the expression reaches the generators: through every normalisation behind the encoder, or as planes alone (GANimation)."""
    segmenter: str = "bisenet"
    """Architecture of the segmenter: `bisenet` or `unet`."""
    segmenter_width: PositiveInt = 64
    """Channels of the segmenter's first stage (64 is ResNet-18 for BiSeNet)."""
    generator_width: PositiveInt = 64
    """Channels of the global generator at full size; doubled at each of its two halvings."""
    generator_blocks: PositiveInt = 6
    """Residual blocks of the global generator."""
    local_width: PositiveInt = 32
    """Channels of each local generator at full size."""
    local_blocks: PositiveInt = 4
    """Residual blocks of each local generator."""
    critic_width: PositiveInt = 64
    """Channels of the critics' first stage; doubled at each halving, to eight times at most."""
    dilation: float = Field(default=0.03, ge=0, le=0.2)
    """How far region masks grow, as a fraction of the image's side."""
    segmenter_gradient_cap: NonNegativeFloat | None = 0.2
    """Largest norm of the GAN's gradient on the segmenter beside the segmentation's own; unset is the naive form."""
    critic_steps: PositiveInt = 5
    """Critic updates per generator update; each takes its own slice of the expression batch."""
    segmenter_steps: NonNegativeInt = 0
    """Steps at the start of training that train the segmenter alone."""
    paired_steps: NonNegativeInt = 0
    """Steps after those that train on true targets, with critics that only learn to recognise expressions: half the time a step."""
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the generators' running average, which is what evaluation and export use."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Keras dtype policy; mixed_float16 is not offered, because one loss scale cannot fit several optimizers."""
    seed: NonNegativeInt = 0
    """Seed of the initial weights and of the gradient penalty's mixing."""
    losses: LossConfig = LossConfig()

    @model_validator(mode="before")
    @classmethod
    def _cross_entropy_weighs_one(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("expression_space") != "emotions":
            return values
        losses = values.get("losses", {})
        return {**values, "losses": {"expression": 1.0, **losses} if isinstance(losses, Mapping) else losses}

    @model_validator(mode="after")
    def _known_labels(self) -> Self:
        if strange := sorted(set(self.unproven) - set(self.space.labels)):
            raise ValueError(f"`unproven` must name labels of `expression_space`. Received: {', '.join(strange)}")
        return self

    @classmethod
    def from_stored(cls, values: Mapping[str, Any]) -> Self:
        """Read what was saved beside weights, by 0.1 too: its generators paint, and its pairs are compared at full size.

        >>> old = ModelConfig.from_stored({"image_size": 64})
        >>> old.generator, old.steering, ModelConfig.from_stored({"generator": "field"}).generator
        ('paint', 'planes', 'field')
        """
        if "generator" in values:
            return cls.model_validate(values)
        losses = {"paired_sizes": 1, **values.get("losses", {})}
        return cls.model_validate({"generator": "paint", "steering": "planes", **values, "losses": losses})

    @property
    def space(self) -> ExpressionSpace:
        """The expression space that `expression_space` names."""
        return expression_space(self.expression_space)._replace(unproven=self.unproven)


class AugmentConfig(_Settings):
    """Random changes of the training images; the same geometry is applied to masks and true targets."""

    flip: bool = True
    """Mirror half of the images (left and right classes swap)."""
    crop: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest shift, as a fraction of the side; what comes in is the image's own reflection."""
    scale: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest enlargement, as a fraction."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Largest change of brightness, contrast and saturation."""
    turn: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest squeezing of one side while the other is stretched, as a turned head shows them."""
    light: float = Field(default=0.0, ge=0, lt=1)
    """How much brighter or darker a side may be lit; half of it is the largest tint."""

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        return self.flip or max(self.crop, self.scale, self.colour, self.turn, self.light) > 0


class DataConfig(_Settings):
    """Where the records are and how they are read."""

    expression: tuple[Path, ...] = ()
    """Folders of records with expressions."""
    segmentation: tuple[Path, ...] = ()
    """Folders of records with masks (the expression folders if empty)."""
    augment: AugmentConfig = AugmentConfig()
    balanced: bool = False
    """Draw every label (or dominant action unit) equally often."""
    cache: bool | Literal["auto"] = "auto"
    """Keep decoded images in memory; `auto` does where they take at most a third of what is free."""
    workers: NonNegativeInt = 0
    """Threads that read and decode; 0 for as many as the machine has."""
    photo_scale: int = Field(default=1, ge=1, le=4)
    """Training photos are read at this multiple of the model's size, and edits compared with their true targets there."""


class TrainingConfig(_Settings):
    """How long and how fast to train."""

    steps: PositiveInt = 200_000
    """Steps in all, the segmenter's own stage included."""
    batch_size: PositiveInt = 16
    """Examples a step, over all replicas."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Adam's rate for generators and critics (betas 0.5 and 0.999); falls linearly to a tenth over the last half."""
    segmenter_learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's first rate for the segmenter."""
    evaluate_every: PositiveInt = 2_000
    """Steps between evaluations, image grids and checkpoints."""
    validation_batches: PositiveInt = 32
    """Batches of the validation split that each evaluation reads."""
    stop_on_warning: bool = False
    """Stop where the history shows that training goes wrong (a mask vanishes, the critic collapses, ...)."""
    segmenter_schedule: Literal["cosine", "poly"] = "cosine"
    """How the segmenter's rate falls: along a cosine to a hundredth, or as (1 - step / steps)^0.9 to nothing."""
    resnet_weights: str | None = None
    """ResNet-18 weights for BiSeNet's context path: a keras-hub preset folder, or a name such as resnet_18_imagenet."""


class Config(_Settings):
    """One training run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def segmentation_alone(self) -> bool:
        """Whether the run never leaves the segmenter's own stage, so that it needs no expressions."""
        return self.model.segmenter_steps >= self.training.steps


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package.

    >>> "drawn-64" in preset_names()
    True
    """
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_config(source: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a preset by name or a TOML file, then apply `a.b=c` overrides (values are TOML, or plain words).

    Raises ValueError for an unknown preset, setting or value.

    >>> read_config("drawn-64", ("training.steps=10",)).training.steps
    10
    """
    path = PRESETS / f"{source}.toml" if str(source) in preset_names() else Path(source)
    if not path.is_file():
        raise ValueError(f"`config` must be a TOML file or one of {', '.join(preset_names())}. Received: {source}")
    values = tomllib.loads(path.read_text())
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"`set` must look like training.steps=1000. Received: {override}")
        table = values
        *parents, name = key.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
        table[name] = _toml_value(text)
    return Config.model_validate(values)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
