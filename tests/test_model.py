"""The model keeps its promises: which gradients flow where, what an edit may touch, what survives saving."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.model import SegHGAN, role_optimizer
from seghgan_tf.model.field import apply_field
from seghgan_tf.model.hierarchy import soft_masks
from seghgan_tf.model.optimizer import capped_sum
from tests import tiny  # noqa: F401 (its segmenter)
from tests.conftest import ROOT, TINY

SIZE = TINY["image_size"]


def make_model(optimizer=None, run_eagerly=False, **settings):
    keras.utils.set_random_seed(5)
    model = SegHGAN({**TINY, **settings})
    optimizer = optimizer or (lambda: keras.optimizers.Adam(1e-3))
    model.compile(
        optimizer=role_optimizer(optimizer(), optimizer(), optimizer()), jit_compile=False, run_eagerly=run_eagerly
    )
    model.optimizer.build(model.trainable_variables)
    return model


MADE = {}


def fresh_model(**settings):
    """A model of the settings at its start, made once; eager, because one or two steps are not worth a trace."""
    key = json.dumps(settings, sort_keys=True)
    if key not in MADE:
        made = make_model(run_eagerly=True, **settings)
        MADE[key] = made, values([*made.weights, *made.optimizer.variables])
    model, start = MADE[key]
    for variable, value in zip([*model.weights, *model.optimizer.variables], start, strict=True):
        variable.assign(value)
    model.begin("joint")
    return model


def make_batch(count=4, seed=0, size=17, masks_follow_the_face=False):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 19, (count, SIZE, SIZE)).astype("int32")
    if masks_follow_the_face:
        mask[:] = 1
        mask[:, 20:26, 10:22] = 11
        mask[:, 10:14, 8:24] = 4
        mask[:, 14:20, 14:18] = 2
    images = {name: rng.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype("float32") for name in ("image", "target_image")}
    expressions = {
        name: rng.uniform(0, 1, (count, size)).astype("float32") for name in ("expression", "target_expression")
    }
    if masks_follow_the_face:
        images["image"] = np.repeat(mask[..., None] / 9.5 - 1.0, 3, -1).astype("float32")
    return {"expression": images | expressions, "segmentation": {"image": images["image"], "mask": mask}}


def values(variables):
    return [variable.numpy() for variable in variables]


def moved(before, variables):
    return any(not np.array_equal(a, b) for a, b in zip(before, values(variables), strict=True))


def gan_gradients(model, batch):
    """Return the gradients of the GAN's losses alone on the segmenter's weights."""
    face, segmenter = model._prepared(batch["expression"]), model.role_variables("segmenter")
    with tf.GradientTape() as tape:
        parts = model.find_parts(model.probabilities(face["image"]))
        loss = tf.reduce_mean(
            model._generator_loss(face, parts, model._fused(face["image"], face["target_expression"], parts))
        )
    return tape.gradient(loss, [v.value for v in segmenter], unconnected_gradients="zero")


def test_in_joint_the_gan_alone_teaches_the_segmenter():
    model = fresh_model()
    assert float(tf.linalg.global_norm(gan_gradients(model, make_batch()))) > 0


@pytest.mark.parametrize("regions", ["none", "boxes", "frozen"])
def test_in_the_other_variants_the_gan_never_reaches_the_segmenter(regions):
    model = fresh_model(regions=regions)
    assert float(tf.linalg.global_norm(gan_gradients(model, make_batch()))) == 0.0


@pytest.mark.parametrize("cap", [0.0, 0.05, 0.2])
def test_the_gans_share_of_the_segmenters_gradient_never_exceeds_the_cap(cap):
    model = fresh_model()
    rng = np.random.default_rng(1)
    own = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in model.role_variables("segmenter")]
    gan = [tf.constant(100 * rng.normal(size=v.shape), tf.float32) for v in model.role_variables("segmenter")]
    added = [a - b for a, b in zip(capped_sum(own, gan, cap)[0], own, strict=True)]
    ratio = float(tf.linalg.global_norm(added) / tf.linalg.global_norm(own))
    assert ratio == pytest.approx(cap, abs=1e-4)


def test_a_gan_gradient_below_the_cap_is_kept_whole():
    model = fresh_model()
    assert model.config.segmenter_gradient_cap == 0.2
    own = [tf.ones(v.shape) for v in model.role_variables("segmenter")]
    gan = [0.1 * gradient for gradient in own]
    for summed, gradient in zip(capped_sum(own, gan, model.config.segmenter_gradient_cap)[0], own, strict=True):
        np.testing.assert_allclose(summed, 1.1 * gradient, rtol=1e-5)


def test_without_a_cap_the_gradients_are_added_as_they_are():
    model = fresh_model()
    own = [tf.ones(v.shape) for v in model.role_variables("segmenter")]
    for summed in capped_sum(own, [1000.0 * gradient for gradient in own], None)[0]:
        np.testing.assert_allclose(summed, 1001.0)


def test_local_generators_see_photo_expression_and_masks():
    """The global generator is made blind, so that the field follows the photo through the local ones alone."""
    model, face = fresh_model(), make_batch()["expression"]
    for weight in model.generator.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    image, expression = face["image"], face["expression"]
    parts = model.find_parts(model.probabilities(image))
    fall = tf.linspace(0.0, 1.0, SIZE)[None, None, :, None]
    fewer, none = ({name: part._replace(mask=by * part.mask) for name, part in parts.items()} for by in (fall, 0.0))
    whole = model._fused(image, expression, none)
    field = model._fused(image, expression, parts)
    assert float(tf.reduce_max(tf.abs(field - whole))) > 1e-2, "the local generators edit"
    for other in (model._fused(-image, expression, parts), model._fused(image, 1.0 - expression, parts)):
        assert float(tf.reduce_max(tf.abs(field - other))) > 1e-4
    if_masks_were_not_seen = whole + fall * (field - whole)
    assert float(tf.reduce_max(tf.abs(model._fused(image, expression, fewer) - if_masks_were_not_seen))) > 1e-3


def test_masks_lie_where_the_segmenter_sees_their_classes():
    model, mask = fresh_model(), make_batch(masks_follow_the_face=True)["segmentation"]["mask"]
    parts = model.find_parts(tf.one_hot(mask, 19))
    for name, (top, left) in {"mouth": (23, 16), "eyes": (12, 16), "nose": (17, 16)}.items():
        soft = parts[name].mask[0, ..., 0]
        assert float(soft[top, left]) > 0.9, name
        assert float(soft[2, 2]) == 0.0, name


def test_every_critic_sees_its_view():
    model, image = fresh_model(), make_batch()["expression"]["image"]
    views = list(model._views(model.find_parts(model.probabilities(image))))
    assert len(views) == 4
    for view in views:
        seen, other = view.critic(view.look(image)), view.critic(view.look(tf.reverse(image, [0])))
        for head in ("realness", "expression"):
            assert float(tf.reduce_max(tf.abs(seen[head] - other[head]))) > 1e-4, (view.critic.name, head)


def test_a_critic_step_moves_critics_alone():
    model, face = fresh_model(), make_batch()["expression"]
    parts = model.find_parts(model.probabilities(face["image"]))
    edited = apply_field(face["image"], model._fused(face["image"], face["target_expression"], parts))
    before = {role: values(model.role_variables(role)) for role in ("segmenter", "generator", "critic")}
    model.train_critics(face, parts, edited, 0)
    assert moved(before["critic"], model.role_variables("critic"))
    assert not moved(before["generator"], model.role_variables("generator"))
    assert not moved(before["segmenter"], model.role_variables("segmenter"))


def test_the_generators_step_leaves_critics_alone(monkeypatch):
    model, batch = fresh_model(), make_batch()
    monkeypatch.setattr(model, "train_critics", lambda *arguments: None)
    before = {role: values(model.role_variables(role)) for role in ("generator", "critic")}
    model.train_step(tf.nest.map_structure(tf.constant, batch))
    assert moved(before["generator"], model.role_variables("generator"))
    assert not moved(before["critic"], model.role_variables("critic"))


def test_each_stage_moves_its_own_roles():
    model = fresh_model()
    data = tf.data.Dataset.from_tensors(make_batch()).repeat()
    before = {role: values(model.role_variables(role)) for role in ("segmenter", "generator", "critic")}
    model.begin("segmenter")
    model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
    assert moved(before["segmenter"], model.role_variables("segmenter"))
    assert not moved(
        before["generator"] + before["critic"], model.role_variables("generator") + model.role_variables("critic")
    )
    model.begin("paired")
    model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
    assert moved(before["generator"], model.role_variables("generator"))
    realness = [v for v in model.role_variables("critic") if "realness" in v.path]
    assert not moved(
        [b for b, v in zip(before["critic"], model.role_variables("critic"), strict=True) if "realness" in v.path],
        realness,
    )
    assert moved(before["critic"], model.role_variables("critic"))
    before["realness"] = values(realness)
    model.begin("joint")
    history = model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert moved(before["realness"], realness)
    assert set(history) == {metric.name for metric in model.metrics}


def test_every_variable_has_the_optimizer_of_its_role():
    model = fresh_model()
    named = {optimizer.name: optimizer for optimizer in model.optimizer.optimizers}
    for role, optimizer in named.items():
        served = {variable.path for variable in optimizer._trainable_variables}
        assert served == {variable.path for variable in model.role_variables(role)}
    assert sum(len(model.role_variables(role)) for role in named) == len(model.trainable_variables)


def test_another_optimizer_is_refused_with_the_mend():
    model = SegHGAN(TINY)
    model.compile(optimizer="adam", jit_compile=False)
    with pytest.raises(ValueError, match="role_optimizer"):
        model.train_step(tf.nest.map_structure(tf.constant, make_batch()))


@pytest.fixture(scope="module")
def seeing():
    """A model whose segmenter has learnt where the regions lie, and the faces that it learnt from."""
    model, batch = make_model(lambda: keras.optimizers.Adam(0.02)), make_batch(8, masks_follow_the_face=True)
    model.begin("segmenter")
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=60, shuffle=False, verbose=0)
    return model, batch["expression"]


@pytest.mark.parametrize("regions", [["mouth"], ["eyes"], ["nose", "mouth"]])
def test_an_edit_leaves_every_pixel_outside_its_regions_bit_equal(seeing, regions):
    model, faces = seeing
    image = faces["image"]
    edited = model.edit(image, faces["target_expression"], regions=regions).numpy()
    masks = soft_masks(model.probabilities(image), model.config.dilation)
    reach = np.max([masks[name].numpy() for name in regions], 0)[..., 0]
    assert np.array_equal(edited[reach <= 0.1], image[reach <= 0.1])
    assert (reach <= 0.1).mean() > 0.2, "the masks must leave something alone, or this proves nothing"
    assert not np.array_equal(edited, image)


def test_no_region_at_all_returns_the_input():
    model, face = fresh_model(), make_batch()["expression"]
    assert np.array_equal(model.edit(face["image"], face["target_expression"], regions=[]), face["image"])


def test_a_zero_delta_returns_the_input_and_another_does_not():
    model, face = fresh_model(), make_batch()["expression"]
    delta = np.zeros((4, 17), "float32")
    assert np.array_equal(model.edit(face["image"], delta=delta), face["image"])
    delta[0, 3] = 0.4
    edited = model.edit(face["image"], delta=delta).numpy()
    assert not np.array_equal(edited[0], face["image"][0])
    assert np.array_equal(edited[1:], face["image"][1:])


def test_edits_stay_within_the_range_of_images():
    model, face = fresh_model(), make_batch()["expression"]
    edited = model.edit(face["image"], face["target_expression"]).numpy()
    assert np.abs(edited).max() <= 1.0 + 1e-5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither"),
        ({"expression": np.zeros((4, 17)), "delta": np.zeros((4, 17))}, "both"),
        ({"delta": np.zeros((4, 17)), "regions": ["ear"]}, "ear"),
    ],
)
def test_a_wrong_edit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        fresh_model().edit(make_batch()["expression"]["image"], **arguments)


@pytest.mark.parametrize(
    "settings",
    [{"regions": "none"}, {"regions": "boxes", "expression_space": "emotions"}, {"expression_space": "AU12,AU25"}],
)
def test_variants_and_spaces_train(settings):
    model = fresh_model(**settings)
    batch = make_batch(size=model.config.space.size)
    if model.config.space.one_hot:
        batch["expression"] |= {
            name: np.eye(8, dtype="float32")[[0, 3, 5, 1]] for name in ("expression", "target_expression")
        }
    history = model.fit(
        tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=1, shuffle=False, verbose=0
    ).history
    assert all(np.isfinite(values).all() for values in (*history.values(), *model.get_weights()))
    assert model.analyze(batch["expression"]["image"]).shape == (4, model.config.space.size)


def test_several_critic_steps_each_take_their_slice():
    model = fresh_model(regions="none", critic_steps=2)
    faces, masks = make_batch(8)["expression"], make_batch(4)["segmentation"]
    model.fit(tf.data.Dataset.from_tensors({"expression": faces, "segmentation": masks}), shuffle=False, verbose=0)
    iterations = {optimizer.name: int(optimizer.iterations) for optimizer in model.optimizer.optimizers}
    assert iterations == {"critic": 2, "generator": 1, "segmenter": 1}
    with pytest.raises(ValueError, match="critic_steps"):
        model._critic_slices(make_batch(3)["expression"])


def test_without_a_target_each_face_is_asked_for_its_neighbours_expression():
    model, faces = fresh_model(), make_batch()["expression"]
    del faces["target_expression"]
    asked = model._critic_slices(faces)[0]["target_expression"]
    np.testing.assert_array_equal(asked, np.roll(faces["expression"], 1, 0))


def test_saving_loading_and_going_on_equals_no_interruption(tmp_path):
    data = tf.data.Dataset.from_tensors(make_batch()).repeat()
    whole = fresh_model()
    whole.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
    uncut = whole.get_weights()
    cut = fresh_model()
    cut.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
    assert moved(uncut, cut.weights)
    cut.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.run_eagerly
    for before, after in zip(cut.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, after)
    loaded.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
    for expected, got in zip(uncut, loaded.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert int(loaded.optimizer.iterations) == 2


def test_the_configuration_makes_the_same_model_again():
    model = fresh_model(regions="boxes", expression_space="emotions")
    again = SegHGAN.from_config(json.loads(json.dumps(model.get_config())))
    assert again.config == model.config
    assert [v.path for v in again.trainable_variables] == [v.path for v in model.trainable_variables]


def test_averages_follow_the_generators_and_are_swapped_in_only_for_a_while():
    model = fresh_model(average_decay=0.5, regions="none")
    model.fit(tf.data.Dataset.from_tensors(make_batch()).repeat(), steps_per_epoch=2, shuffle=False, verbose=0)
    live = values(model.role_variables("generator"))
    with model.averaged():
        assert not moved(values(model.averages), model.role_variables("generator"))
        assert moved(live, model.role_variables("generator"))
    assert not moved(live, model.role_variables("generator"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"segmenter": "bisenet", "image_size": 144}, "multiple of 32"),
        ({"image_size": 40}, "multiple of 16"),
        ({"segmenter": "segformer"}, "unet, bisenet"),
    ],
)
def test_a_segmenter_that_is_not_there_or_does_not_fit_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SegHGAN({**TINY, **settings})


def test_bisenet_trains_its_three_heads():
    model = fresh_model(segmenter="bisenet", regions="none")
    assert len(model.segmenter.outputs) == 3
    history = model.fit(
        tf.data.Dataset.from_tensors(make_batch()).repeat(), steps_per_epoch=1, shuffle=False, verbose=0
    ).history
    assert np.isfinite(history["segmentation"]).all()
    assert model.segment(make_batch()["segmentation"]["image"])["labels"].shape == (4, SIZE, SIZE)


REPLICAS = """
import sys
sys.path.insert(0, {root!r})
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from seghgan_tf.regions import REGIONS
del REGIONS["eyes"], REGIONS["nose"]  # one local network is enough
from tests.test_model import make_batch, make_model
runs = []
for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
    with tf.distribute.MirroredStrategy(devices).scope():
        # without the cycle's L1, whose gradient jumps where rounding turns a sign
        model = make_model(lambda: keras.optimizers.SGD(1e-4), segmenter="one-layer", losses={{"cycle": 0.0}})
        start = model.get_weights()
    data = tf.data.Dataset.from_tensor_slices(make_batch(7)).batch(4).repeat()  # the second of 3: 2 and 1
    history = model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0).history
    runs.append((model.get_weights(), history))
(one, one_log), (two, two_log) = runs
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
assert max(np.abs(a - b).max() for a, b in zip(one, start, strict=True)) > 1e-4, "nothing was trained"
for name in one_log:
    np.testing.assert_allclose(one_log[name], two_log[name], rtol=2e-3, atol=1e-5, err_msg=name)
print("equal")
"""


@pytest.mark.slow
def test_one_and_two_replicas_give_equal_weights_of_even_and_of_uneven_batches():
    code = REPLICAS.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
