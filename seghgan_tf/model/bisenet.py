"""The BiSeNet segmenter (Yu et al. 2018): a ResNet-18 context path, a real spatial path, and their fusion."""

from typing import Any

import keras
from keras import layers

from seghgan_tf.model.layers import BatchNormalization, Doubled


def _convolve(x: Any, width: int, kernel: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = BatchNormalization(momentum=0.9, synchronized=True, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _channel_attention(x: Any, name: str) -> Any:
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    return layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_attention")(pooled)


def _refine(x: Any, width: int, name: str) -> Any:
    x = _convolve(x, width, 3, 1, name)
    return layers.Multiply(name=f"{name}_refined")([x, _channel_attention(x, name)])


def _head(x: Any, width: int, classes: int, image_size: int, name: str) -> Any:
    x = _convolve(x, width, 3, 1, name)
    x = layers.Conv2D(classes, 1, dtype="float32", name=f"{name}_logits")(x)
    factor = image_size // x.shape[1]
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name=f"{name}_resized")(x)


def _with_our_norm(layer: Any) -> Any:
    made = BatchNormalization if isinstance(layer, layers.BatchNormalization) else type(layer)
    return made.from_config(layer.get_config())


def bisenet(image_size: int, classes: int, width: int, name: str = "segmenter") -> keras.Model:
    """Build the network: image (B, S, S, 3) in [-1, 1] to three (B, S, S, classes) float32 logits.

    The first output is the segmentation, the other two the auxiliary heads of training. `width` 64 is ResNet-18; less
    narrows every stage but the first, which keras-hub fixes at 64.
    """
    from keras_hub.models import ResNetBackbone  # costs seconds: only where a BiSeNet is built

    image = keras.Input((image_size, image_size, 3), name="image")
    backbone = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 2 * width, 4 * width, 8 * width],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(image_size, image_size, 3),
        name="context",
    )
    pyramid = keras.Model(backbone.inputs, backbone.pyramid_outputs, name="context_pyramid")
    pyramid = keras.models.clone_model(pyramid, clone_function=_with_our_norm)(image)
    middle = 2 * width

    scene = _convolve(
        layers.GlobalAveragePooling2D(keepdims=True, name="scene_pool")(pyramid["P5"]), middle, 1, 1, "scene"
    )
    deep = layers.Add(name="deep_scene")([_refine(pyramid["P5"], middle, "refine32"), scene])
    deep = _convolve(Doubled(name="deep_up")(deep), middle, 3, 1, "deep")
    shallow = layers.Add(name="shallow_deep")([_refine(pyramid["P4"], middle, "refine16"), deep])
    context = _convolve(Doubled(name="shallow_up")(shallow), middle, 3, 1, "shallow")

    spatial = _convolve(image, width, 7, 2, "spatial1")
    spatial = _convolve(spatial, width, 3, 2, "spatial2")
    spatial = _convolve(_convolve(spatial, width, 3, 2, "spatial3"), middle, 1, 1, "spatial4")

    fused = _convolve(layers.Concatenate(name="fuse_join")([spatial, context]), 4 * width, 1, 1, "fuse")
    weighted = layers.Multiply(name="fuse_weighted")([fused, _channel_attention(fused, "fuse")])
    fused = layers.Add(name="fuse_sum")([fused, weighted])
    outputs = [
        _head(fused, 4 * width, classes, image_size, "main"),
        _head(context, width, classes, image_size, "auxiliary8"),
        _head(deep, width, classes, image_size, "auxiliary16"),
    ]
    return keras.Model(image, outputs, name=name)
