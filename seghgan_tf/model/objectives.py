"""What each role minimises: weighted sums of the losses, returned as (total, named parts), one number per example."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from seghgan_tf.config import LossConfig
from seghgan_tf.model import losses

Parts = dict[str, tf.Tensor]


class View(NamedTuple):
    """What a critic judges: `look` cuts its view (B, h, w, 3) out of an image; `visible` (N,) are the labels it can see.

    `visible` is None for the critic of the whole image, which sees all of them.
    """

    critic: Any
    look: Callable[[tf.Tensor], tf.Tensor]
    visible: tf.Tensor | None
    weight: float


def critic_loss(
    views: Iterable[View],
    face: Mapping[str, tf.Tensor],
    edited: tf.Tensor,
    mix: tf.Tensor,
    weights: LossConfig,
    one_hot: bool,
) -> tuple[tf.Tensor, Parts]:
    """Return the critics' WGAN-GP and expression losses (B,) on real `face["image"]` against `edited` (B, S, S, 3).

    `mix` (B, 1, 1, 1) in 0..1 mixes both for the penalty. The parts are those of the critic of the whole image.
    """
    total, parts = tf.constant(0.0), {}
    for critic, look, visible, weight in views:
        real, fake = look(face["image"]), look(edited)
        seen = critic(tf.concat([real, fake], 0))
        real_realness, fake_realness = tf.split(seen["realness"], 2)
        distance = losses.wasserstein(real_realness, fake_realness)
        penalty = losses.gradient_penalty(functools.partial(_realness, critic), real, fake, mix)
        error = losses.expression_error(tf.split(seen["expression"], 2)[0], face["expression"], one_hot, visible)
        adversarial = weights.adversarial * (distance + weights.gradient_penalty * penalty)
        total += weight * (adversarial + weights.expression * error)
        if visible is None:
            parts = {"critic": distance, "gradient_penalty": penalty, "critic_expression": error}
    return total, parts


def recognition_loss(
    views: Iterable[View], face: Mapping[str, tf.Tensor], weights: LossConfig, one_hot: bool
) -> tuple[tf.Tensor, Parts]:
    """Return the critics' expression losses (B,) on real `face["image"]` alone: what they learn before there is a GAN."""
    total, parts = tf.constant(0.0), {}
    for critic, look, visible, weight in views:
        error = losses.expression_error(critic(look(face["image"]))["expression"], face["expression"], one_hot, visible)
        total += weight * weights.expression * error
        if visible is None:
            parts = {"critic_expression": error}
    return total, parts


def paired_loss(
    face: Mapping[str, tf.Tensor], edited: tf.Tensor, attention: tf.Tensor, weights: LossConfig
) -> tuple[tf.Tensor, Parts]:
    """Return the price of the attention, and the distance to the true target where the face carries one, (B,).

    `edited` is the edit at the size of `face["photo"]`, or of `face["image"]` where there is no larger photo.
    """
    parts = {
        "attention": losses.attention_use(attention),
        "attention_variation": losses.total_variation(attention),
    }
    if "target_photo" in face:
        parts["paired"] = losses.l1_pyramid(edited, face["target_photo"], weights.paired_sizes)
    return tf.add_n([getattr(weights, name) * value for name, value in parts.items()]), parts


def adversarial_loss(
    views: Iterable[View],
    face: Mapping[str, tf.Tensor],
    edited: tf.Tensor,
    back: tf.Tensor,
    weights: LossConfig,
    one_hot: bool,
) -> tuple[tf.Tensor, Parts]:
    """Return what critics and the way back say of an edit (B,): realness, expression asked for, and the cycle.

    `back` is the edit of `edited` to the face's own expression.
    """
    parts = {"cycle": losses.l1(back, face["image"])}
    total = weights.cycle * parts["cycle"]
    for critic, look, visible, weight in views:
        seen = critic(look(edited))
        adversarial = -losses.per_example(seen["realness"])
        error = losses.expression_error(seen["expression"], face["target_expression"], one_hot, visible)
        total += weight * (weights.adversarial * adversarial + weights.expression * error)
        if visible is None:
            parts |= {"adversarial": adversarial, "expression": error}
    return total, parts


def segmentation_loss(
    heads: list[tf.Tensor], mask: tf.Tensor, weights: LossConfig, hard: bool
) -> tuple[tf.Tensor, Parts]:
    """Return the cross-entropy (B,) of every head (B, S, S, 19) against class ids (B, S, S); `hard` pixels alone, if so."""
    threshold = weights.ohem_threshold if hard else None
    error = tf.add_n([losses.segmentation_error(logits, mask, threshold) for logits in heads])
    return weights.segmentation * error, {"segmentation": error}


def _realness(critic: Any, image: tf.Tensor) -> tf.Tensor:
    return critic(image)["realness"]
