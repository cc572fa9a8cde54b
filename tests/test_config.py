"""Configuration: presets are valid, unknown and wrong settings are errors that name them."""

import pytest
from pydantic import ValidationError

from seghgan_tf.config import Config, ModelConfig, preset_names, read_config


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name):
    assert isinstance(read_config(name), Config)


def test_overrides_are_typed():
    config = read_config(
        "drawn-64",
        ("training.steps=7", "model.regions=boxes", "model.segmenter_gradient_cap=0.5", "data.augment.flip=false"),
    )
    assert config.training.steps == 7
    assert config.model.regions == "boxes"
    assert config.model.segmenter_gradient_cap == 0.5
    assert config.data.augment.flip is False


def test_an_unknown_setting_is_an_error_that_names_it():
    with pytest.raises(ValidationError, match="stepps"):
        read_config("drawn-64", ("training.stepps=7",))


def test_an_unknown_preset_is_an_error_that_lists_the_presets():
    with pytest.raises(ValueError, match="drawn-64"):
        read_config("nothing")


def test_an_override_without_a_value_is_an_error():
    with pytest.raises(ValueError, match="must look like"):
        read_config("drawn-64", ("training.steps",))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("image_size", 16),
        ("expression_space", "smiles"),
        ("segmenter_gradient_cap", -1),
        ("regions", "soft"),
        ("losses", {"cycle": -1}),
    ],
)
def test_a_wrong_value_is_refused(setting, value):
    with pytest.raises(ValidationError, match=setting):
        ModelConfig.model_validate({"segmenter": "unet", setting: value})


def test_unproven_labels_are_some_of_the_models():
    assert ModelConfig(unproven=("AU05",)).space.unproven == ("AU05",)
    with pytest.raises(ValueError, match=r"`unproven` must name labels.*AU12"):
        ModelConfig(expression_space="AU05,AU06", unproven=("AU12",))


def test_a_configuration_survives_its_json():
    config = read_config("faces-128")
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_one_hot_spaces_take_the_cross_entropy_at_weight_one():
    assert ModelConfig(expression_space="emotions").losses.expression == 1.0
    assert ModelConfig(expression_space="emotions", losses={"expression": 3.0, "cycle": 1.0}).losses.expression == 3.0
    assert ModelConfig(expression_space="aus").losses.expression == 160.0
    assert read_config("faces-128", ("model.expression_space=emotions",)).model.losses.expression == 1.0
