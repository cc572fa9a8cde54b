"""Batches of serialised records become examples of a stream, beside which of them it can use."""

from typing import Any

import tensorflow as tf

from seghgan_tf.data.schema import FEATURES
from seghgan_tf.expressions import EMOTIONS, MAX_INTENSITY, ExpressionSpace


def parse_expressions(records: Any, space: ExpressionSpace, pairs: bool) -> tuple[dict[str, Any], Any]:
    """Return the examples of serialised records (B,), and whose expressions are known, bool (B,).

    Examples hold `image` bytes (B,), `expression` float32 (B, N) in the range of `space` or NaN, `subject` (B,), and with `pairs`
    `target_image` and `target_expression` alike.
    """
    keys = [key for key in FEATURES if key.startswith(("expression/", "target/") if pairs else "expression/")]
    parsed = tf.io.parse_example(records, {key: FEATURES[key] for key in (*keys, "image/encoded", "subject/id")})
    if space.one_hot:
        label = parsed["expression/label"]
        expression = tf.one_hot(label, space.size)
        known = (label >= 0) & (label < len(EMOTIONS))
    else:
        if "expression/" + space.labels[0] in parsed:  # valence and arousal
            expression = tf.stack([parsed[f"expression/{label}"] for label in space.labels], axis=-1)
        else:
            expression = _intensities(parsed, "expression", space)
        known = _all_known(expression)
    chosen = {"image": parsed["image/encoded"], "expression": expression, "subject": parsed["subject/id"]}
    if pairs:
        target = _intensities(parsed, "target", space)
        known &= _all_known(target) & (parsed["target/encoded"] != "")
        chosen |= {"target_image": parsed["target/encoded"], "target_expression": target}
    return chosen, known


def _all_known(vectors: Any) -> Any:
    return tf.reduce_all(~tf.math.is_nan(vectors), axis=-1)


def _intensities(parsed: dict[str, Any], prefix: str, space: ExpressionSpace) -> Any:
    """Return the action units of `space` as (B, N) in 0..1, NaN where a record does not name one."""
    names = tf.sparse.to_dense(parsed[f"{prefix}/names"])[..., None]
    values = tf.sparse.to_dense(parsed[f"{prefix}/aus"])[..., None]
    named = names == tf.constant(space.labels)  # (B, names, N)
    found = tf.reduce_sum(tf.where(named, values, 0.0), axis=1) / MAX_INTENSITY
    return tf.where(tf.reduce_any(named, axis=1), found, float("nan"))


def parse_masks(records: Any) -> tuple[dict[str, Any], Any]:
    """Return the examples of serialised records (B,), `image`, `mask` and `subject`, all bytes (B,), and which have a mask, bool (B,)."""
    names = {"image": "image/encoded", "mask": "mask/encoded", "subject": "subject/id"}
    parsed = tf.io.parse_example(records, {key: FEATURES[key] for key in names.values()})
    return {name: parsed[key] for name, key in names.items()}, parsed["mask/encoded"] != ""
