"""Expression spaces: order, range, errors."""

import pytest

from seghgan_tf.editing import target_expression
from seghgan_tf.expressions import AUS, EMOTION_AUS, EMOTIONS, ExpressionSpace, expression_space, parse_value
from seghgan_tf.regions import CLASSES, mirrored_classes


def test_the_aus_are_openfaces_17_in_its_order():
    assert len(AUS) == 17
    assert list(AUS) == sorted(AUS)


def test_every_emotion_is_made_of_known_aus():
    assert set(EMOTION_AUS) == set(EMOTIONS)
    assert all(au in AUS and 0 < value <= 5 for aus in EMOTION_AUS.values() for au, value in aus.items())


def test_an_emotion_sets_every_label_of_a_space_that_can_show_it():
    assert expression_space("aus").emotion("happy") == {
        label: {"AU06": 3.0, "AU12": 4.0, "AU25": 2.0}.get(label, 0) for label in AUS
    }
    assert set(expression_space("AU04,AU12").emotion("neutral").values()) == {0.0}
    assert expression_space("emotions").emotion("sad") == {"sad": 1.0}
    for space, name in (("AU12", "happy"), ("va", "neutral"), ("emotions", "AU12"), ("aus", "bored")):
        with pytest.raises(ValueError, match="`emotion` must be one"):
            expression_space(space).emotion(name)


def test_a_label_that_was_not_shown_to_be_obeyed_is_refused_by_name_and_serves_emotions():
    space = expression_space("aus")._replace(unproven=("AU05", "AU14"))
    space.check_proven({"AU12": 3.0, "AU05": 0.0})
    with pytest.raises(ValueError, match=r"AU04, AU06.*Received: AU05"):
        space.check_proven({"AU12": 3.0, "AU05": 1.0})
    space.check_proven(space.emotion("surprised"))
    assert space.emotion("surprised")["AU05"] == 3.5
    for relative in (False, True):
        with pytest.raises(ValueError, match="shown to obey"):
            target_expression(space, {}, {"AU12": 3.0, "AU05": 1.0}, relative)
    assert ExpressionSpace.from_json(space.to_json()) == space
    assert "unproven" not in expression_space("aus").to_json()


def test_vectors_store_a_fifth_of_an_intensity():
    assert expression_space("AU12,AU45").vector({"AU45": 5}) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "words"), [({"AU12": 6}, "between 0 and 5"), ({"AU99": 1}, "AU99"), ({"AU12": -1}, "between")]
)
def test_a_wrong_vector_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        expression_space("AU12,AU25").vector(values)


@pytest.mark.parametrize("text", ["AU12", "AU=3", "smile=1", "happy=1", "AU12=x", "AU123=1", "valence"])
def test_a_wrong_value_is_refused(text):
    with pytest.raises(ValueError, match="AU12=3"):
        parse_value(text)


def test_a_value_is_of_an_action_unit_or_of_another_space():
    assert [parse_value(text) for text in ("au6=+2", "valence=-.5")] == [("AU06", 2.0), ("valence", -0.5)]


@pytest.mark.parametrize("text", ["AU12,AU12", "AU12,AU98", "happy"])
def test_a_wrong_space_is_refused(text):
    with pytest.raises(ValueError, match="expression_space"):
        expression_space(text)


def test_mirroring_twice_is_no_change_and_swaps_sides():
    mirrored = mirrored_classes()
    assert [mirrored[i] for i in mirrored] == list(range(19))
    assert mirrored[CLASSES.index("l_brow")] == CLASSES.index("r_brow")
    assert mirrored[CLASSES.index("l_lip")] == CLASSES.index("l_lip"), "the lower lip has no side"
