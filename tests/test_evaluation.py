"""Figures are what the field's libraries compute, each stream is measured to its own end, and a judge is independent."""

import json

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import tensorflow as tf
from scipy.ndimage import distance_transform_cdt
from scipy.spatial.distance import cosine
from sklearn import metrics as sk

from seghgan_tf.config import Config
from seghgan_tf.evaluation import figures, gate, intervals, metrics, networks, pairs, provenance
from seghgan_tf.regions import CLASSES
from seghgan_tf.training.workdir import load_checkpoint
from tests.test_model import SIZE, make_model
from tests.tiny import eagerly


@pytest.fixture(scope="module")
def model():
    return make_model(expression_space="AU12,AU25", segmenter="one-layer")


def batches(count, size, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype("float32")
    faces = {"image": image, "expression": rng.uniform(0, 1, (count, 2)).astype("float32")}
    masks = {"image": image, "mask": rng.integers(0, 19, (count, SIZE, SIZE)).astype("int32")}
    sliced = tf.data.Dataset.from_tensor_slices
    return sliced(masks).batch(size), sliced(faces).batch(size)


def test_each_stream_is_measured_to_its_own_end(model):
    few, _ = batches(3, 2)
    _, many = batches(7, 4)
    assert figures.evaluate_run(model, few, many)["images"] == {"segmentation": 3, "expression": 7}
    assert figures.evaluate_run(model, few)["images"] == {"segmentation": 3}
    with pytest.raises(ValueError, match="neither"):
        figures.evaluate_run(model)


@eagerly()
def test_leakage_locality_and_identity_are_of_every_image(model, tmp_path):
    module, rows = Mean(), {}
    tf.saved_model.save(module, str(tmp_path / "mean"), signatures={"serving_default": module.__call__})
    _, stream = batches(6, 1)  # six batches
    figures.evaluate_run(model, None, stream, identity=networks.Signature(tmp_path / "mean"), keep=rows)
    assert {kind: each.images for kind, each in rows.items()} == dict.fromkeys(
        ("expressions", "cycles", "responses", "identities"), 6
    )

    class Leaky:
        """Edits the last batch alone, out of any region's reach."""

        def segment(self, image):
            return {"regions": tf.zeros((*image.shape[:3], 3))}

        def edit(self, image, expression, regions):
            return image + 0.5 * tf.cast(tf.reduce_all(expression == 1.0), tf.float32)

    faces = [{"image": np.zeros((2, 8, 8, 3), "float32"), "expression": np.full((2, 2), i / 5.0)} for i in range(6)]
    assert figures.locality_figures(Leaky(), faces) == {"locality": 0.5}
    assert figures.locality_figures(Leaky(), faces[:5]) == {"locality": 0.0}


def test_identity_is_scipys_cosine_distance_beside_that_of_strangers():
    rng = np.random.default_rng(6)
    image, expression = rng.uniform(-1, 1, (5, 8, 8, 3)), rng.uniform(0, 1, (5, 2))

    class Darker:
        def edit(self, image, expression):
            return image * np.array([0.5, 1.0, 0.2])

    def see(image):
        return np.asarray(image).mean((1, 2))

    subject = np.array([b"ann", b"ann", b"bob", b"", b""])
    stream = [{"image": image, "expression": expression, "subject": subject}]
    found = figures.identity_figures(Darker(), stream, see)
    seen, edited = see(image), see(image * np.array([0.5, 1.0, 0.2]))
    expected = np.mean([cosine(a, b) for a, b in zip(seen, edited, strict=True)])
    assert found["identity"] == pytest.approx(expected)
    pairs = [(0, 4), (2, 1), (3, 2), (4, 3)]  # ann beside ann is no stranger
    assert found["identity_others"] == pytest.approx(np.mean([cosine(seen[a], seen[b]) for a, b in pairs]))
    assert found["intervals"].keys() == {"identity", "identity_others"}
    alone = [{"image": image[:1], "expression": expression[:1]}]
    assert figures.identity_figures(Darker(), alone, see)["identity_others"] == 0.0


@eagerly()
def test_figures_do_not_depend_on_the_batches(model):
    _, whole = batches(5, 5)
    _, cut = batches(5, 4)  # the last batch is of one image
    one, other = (figures.expression_figures(model, stream) for stream in (whole, cut))
    assert one["expression_error"] == pytest.approx(other["expression_error"], rel=1e-5)
    for name in ("cycle_psnr", "cycle_ssim"):
        assert np.isfinite([one[name], other[name]]).all()


def test_masks_are_scored_as_scikit_learn_does():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 12, (4, 16, 16))
    seen = np.where(rng.uniform(size=truth.shape) < 0.6, truth, rng.integers(0, 19, truth.shape))
    counts = metrics.confusion(truth, seen)
    np.testing.assert_array_equal(counts, sk.confusion_matrix(truth.ravel(), seen.ravel(), labels=range(19)))
    present = range(12)
    iou = sk.jaccard_score(truth.ravel(), seen.ravel(), labels=present, average=None)
    f1 = sk.f1_score(truth.ravel(), seen.ravel(), labels=present, average=None)
    assert metrics.intersection_over_union(counts) == pytest.approx(dict(zip(CLASSES, iou, strict=False)))
    assert metrics.class_f1(counts) == pytest.approx(dict(zip(CLASSES, f1, strict=False)))


def test_means_over_classes_are_those_of_the_classes():
    rng = np.random.default_rng(5)
    counts = np.stack([metrics.confusion(rng.integers(0, 9, 400), rng.integers(0, 19, 400)) for _ in range(3)])
    for one, miou, f1 in zip(counts, metrics.mean_iou(counts), metrics.mean_f1(counts), strict=True):
        assert miou == pytest.approx(np.mean(list(metrics.intersection_over_union(one).values())))
        named = metrics.class_f1(one)
        assert f1 == pytest.approx(np.mean([value for name, value in named.items() if name != "background"]))


def test_intervals_are_scipys_where_each_person_has_one_image():
    values = np.random.default_rng(2).gamma(2.0, 1.0, 80)
    rows = intervals.Rows()
    rows.add({}, values)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=0
    ).confidence_interval
    width = expected.high - expected.low
    assert rows.interval(intervals.mean) == pytest.approx([expected.low, expected.high], abs=0.06 * width)
    assert rows.interval(intervals.mean) == rows.interval(intervals.mean), "seeded"
    assert rows.figure(intervals.mean) == pytest.approx(values.mean())


def test_ten_photos_of_each_person_make_no_figure_surer():
    values = np.random.default_rng(2).normal(size=20)
    once, often = intervals.Rows(), intervals.Rows()
    once.add({}, values)
    often.add({"subject": [b"%d" % (i // 10) for i in range(200)]}, values.repeat(10))
    assert (often.images, often.people) == (200, 20)
    widths = [np.ptp(rows.interval(intervals.mean)) for rows in (once, often)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    alone = intervals.Rows()
    alone.add({"subject": [b"ann", b"ann"]}, [1.0, 2.0])
    assert alone.interval(intervals.mean) is None


def test_figures_of_pairs_are_over_all_their_pixels():
    rng = np.random.default_rng(4)
    image, edited, truth = rng.uniform(-1, 1, (3, 5, 8, 8, 3))
    truth[:, :4] = image[:, :4]
    changed = np.abs(truth - image).max(-1) / 2 > pairs.CHANGED
    found = pairs.edit_figures(image, edited, truth)
    expected = np.abs(edited - truth)[changed].mean() / np.abs(image - truth)[changed].mean()
    assert found["error_ratio"] == pytest.approx(expected)
    assert found["outside_change"] == pytest.approx(np.abs(edited - image)[~changed].mean() / 2)
    assert found["changed"] == pytest.approx(changed.mean())


def test_borders_are_those_of_scikit_image_and_met_within_the_distance():
    from skimage.segmentation import find_boundaries

    truth = np.zeros((24, 24), int)
    truth[6:15, 5:17] = 3
    inner = find_boundaries(truth, mode="thick")
    assert (inner | ~metrics.borders(truth)).all(), "every border lies on one of scikit-image's thick boundaries"
    assert metrics.boundary_f1(truth, truth) == 1.0
    assert metrics.boundary_f1(truth, np.roll(truth, 2, 0)) == 1.0
    assert metrics.boundary_f1(truth, np.roll(truth, 5, 0)) < 0.9
    assert metrics.boundary_f1(truth, np.zeros_like(truth)) == 0.0
    assert metrics.boundary_f1(np.zeros_like(truth), np.zeros_like(truth)) == 1.0


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_the_f1_of_borders_is_the_one_of_scipys_distance_transform(distance):
    rng = np.random.default_rng(distance)

    def edge(mask):
        right, below = (np.diff(mask, axis=axis, append=mask.take([-1], axis)) for axis in (1, 0))
        return (right != 0) | (below != 0)

    def by_distance(truth, seen, metric):
        true, found = edge(truth), edge(seen)
        from_true, from_found = (distance_transform_cdt(~each, metric) for each in (true, found))
        precision, recall = (from_true[found] <= distance).mean(), (from_found[true] <= distance).mean()
        return scipy.stats.hmean([precision, recall]), precision, recall

    apart = set()
    for classes in (2, 3, 5):
        truth = rng.integers(0, classes, (4, 6)).repeat(8, 0).repeat(8, 1)
        seen = np.where(rng.uniform(size=truth.shape) < 0.002, 18, np.roll(truth, (rng.integers(1, 4), 2), (0, 1)))
        expected, precision, recall = by_distance(truth, seen, "chessboard")
        assert 0.0 < expected < 1.0
        assert precision != recall
        assert metrics.boundary_f1(truth, seen, distance) == pytest.approx(expected, rel=1e-12)
        apart.add(bool(expected != by_distance(truth, seen, "taxicab")[0]))
    assert True in apart, "a diamond in place of the square would be seen"


def test_the_frechet_distance_is_that_of_scipys_matrix_root():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(60, 6)), rng.normal(0.3, 1.4, (50, 6))
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(one @ other).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(one + other - 2 * root)
    assert metrics.frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert metrics.frechet_distance(first, first) == pytest.approx(0.0, abs=1e-8)
    with pytest.raises(ValueError, match="two rows"):
        metrics.frechet_distance(first[:1], second)


def test_the_kernel_distance_is_that_of_scikit_learns_kernel():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(30, 5)), rng.normal(0.5, 1.0, (20, 5))
    from sklearn.metrics.pairwise import polynomial_kernel

    def mean(a, b, same):
        values = polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)) if same else values.mean()

    expected = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)
    assert metrics.kernel_distance(first, second) == pytest.approx(expected, rel=1e-10)


@eagerly()
def test_the_cycle_is_measured_as_scikit_image_does(model):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    _, stream = batches(2, 2)
    (batch,) = stream
    image, expression = batch["image"], batch["expression"]
    back = model.edit(model.edit(image, tf.roll(expression, 1, 0)), expression).numpy()
    found = figures.expression_figures(model, stream)
    psnr = [peak_signal_noise_ratio(a, b, data_range=2.0) for a, b in zip(image.numpy(), back, strict=True)]
    assert found["cycle_psnr"] == pytest.approx(np.mean(psnr), rel=1e-4)
    ssim = [
        structural_similarity(
            a, b, data_range=2.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(image.numpy(), back, strict=True)
    ]
    assert found["cycle_ssim"] == pytest.approx(np.mean(ssim), abs=0.02)  # they differ at the border of the image


class Mean(tf.Module):
    """A judge and a feature network: the mean of two channels."""

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, "image")])
    def __call__(self, image):
        return {"expression": tf.reduce_mean(image, (1, 2))[:, :2]}


@eagerly()
def test_a_saved_model_judges_edits_and_gives_features(model, tmp_path):
    module = Mean()
    tf.saved_model.save(module, str(tmp_path / "mean"), signatures={"serving_default": module.__call__})
    judge = networks.Signature(tmp_path / "mean")
    _, stream = batches(6, 3)
    found = figures.evaluate_run(model, None, stream, judge=judge, features=judge, identity=judge)
    assert {"judge_error", "judged_error", "judged_unasked_error", "fid", "kid", "identity"} <= found.keys()
    assert found["fid"] >= 0
    assert judge.digest == networks.Signature(tmp_path / "mean").digest


def test_a_judge_of_other_labels_or_of_one_number_judges_nothing(model, tmp_path):
    module = Mean()
    tf.saved_model.save(module, str(tmp_path / "mean"), signatures={"serving_default": module.__call__})
    few, stream = batches(2, 2)
    own = networks.Signature(tmp_path / "mean")
    before = own.digest
    with pytest.raises(ValueError, match="segmenter alone"):
        figures.evaluate_run(model, few, judge=own)
    (tmp_path / "mean" / "judge.json").write_text(json.dumps({"labels": ["AU12", "AU25"]}))
    networks.check_judge(own, model.config.space, SIZE)
    (tmp_path / "mean" / "judge.json").write_text(json.dumps({"labels": ["AU25", "AU12"]}))
    other = networks.Signature(tmp_path / "mean")
    assert other.digest != before
    with pytest.raises(ValueError, match="AU25, AU12 in"):
        figures.evaluate_run(model, None, stream, judge=other)

    single = tf.keras.Sequential([tf.keras.Input((16, 16, 3)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)])
    single.export(str(tmp_path / "single"), verbose=False)
    with pytest.raises(ValueError, match=r"\(2, 1\) of two images"):
        figures.evaluate_run(model, None, stream, judge=networks.Signature(tmp_path / "single"))


def test_figures_say_of_which_weights_and_no_others_are_exported_with_them(model, tmp_path):
    config = Config(model=model.config)
    figures_file = tmp_path / "figures.json"
    told = {"miou": 0.5, "measured": provenance.measured(model, config, "test")}
    figures_file.write_text(json.dumps(told))
    assert provenance.figures_for(model, figures_file) == told
    model.save(tmp_path / "same.keras")
    assert provenance.figures_for(load_checkpoint(tmp_path / "same.keras"), figures_file) == told
    other = load_checkpoint(tmp_path / "same.keras")
    other.averages[0].assign_add(tf.ones_like(other.averages[0]) * 1e-3)  # what is served, though nothing else differs
    with pytest.raises(ValueError, match="those of step 0"):
        provenance.figures_for(other, figures_file)
    figures_file.write_text(json.dumps({"miou": 0.5}))
    with pytest.raises(ValueError, match="do not say of which"):
        provenance.figures_for(model, figures_file)


def test_the_gate_refuses_a_broken_editor_and_one_that_nobody_measured():
    good = {"miou": 0.8, "asked_error": 0.3, "unasked_error": 1.2}
    failed = [check.figure for check in gate.compare(good | {"asked_error": 5.0}, good) if not check.passed]
    assert failed == ["asked_error", "asked_error"], "worse than the baseline, and than no edit at all"
    assert [check.figure for check in gate.compare({"miou": 0.9}, None) if not check.passed] == ["error_ratio"]
    assert not [check for check in gate.compare(good, good) if not check.passed]
    assert not all(check.passed for check in gate.compare(good | {"asked_error": float("nan")}, good))


@pytest.mark.parametrize(("edited", "unedited"), gate.UNEDITED.items())
def test_the_gate_refuses_edits_that_a_critic_or_a_judge_cannot_tell_from_photos(edited, unedited):
    good = {"miou": 0.9, "asked_error": 0.2, "unasked_error": 1.2, "judged_error": 0.9, "judged_unasked_error": 1.1}

    def failed(**change):
        figures = {name: value for name, value in (good | change).items() if value is not None}
        return [check.figure for check in gate.compare(figures, None) if not check.passed]

    assert failed() == []
    assert failed(**{edited: good[unedited] + 0.3}) == [edited], "worse than no edit"
    assert failed(**{edited: good[unedited]}) == [edited], "as good as no edit: it does nothing"
    assert failed(**{edited: float("nan")}) == failed(**{unedited: float("nan")}) == [edited]
    assert failed(**{unedited: None}) == [unedited], "what it must beat is not known"


@pytest.mark.parametrize("figure", gate.RULES)
def test_every_figure_that_both_sides_have_is_compared(figure):
    rule = gate.RULES[figure]
    good = {"miou": 0.9, "error_ratio": 0.5, "outside_change": 0.001} | {figure: 0.6 if figure == "miou" else 0.01}
    worse = good | {figure: good[figure] + (-2.0 if rule.more_is_better else 2.0)}
    assert figure in {check.figure for check in gate.compare(worse, good) if not check.passed}


def test_only_what_the_same_judge_said_is_compared_and_the_rest_is_told(tmp_path):
    said = {"miou": 0.9, "asked_error": 0.2, "unasked_error": 1.2, "judged_error": 0.4, "judged_unasked_error": 1.1}
    base = said | {"images": {"expression": 2000}, "measured": {"split": "test", "records": "a", "judge": "one"}}
    worse = base | {"judged_error": 0.9}
    other = worse | {"measured": base["measured"] | {"judge": "two"}}
    failed = [[check.figure for check in gate.compare(each, base) if not check.passed] for each in (worse, other)]
    assert failed == [["judged_error"], []]
    unjudged = {name: value for name, value in other.items() if name != "judged_error"}
    assert "judged_error" in {check.figure for check in gate.compare(unjudged, base) if not check.passed}

    def differences(figures):
        for name, each in (("candidate", figures), ("baseline", base)):
            (tmp_path / f"{name}.json").write_text(json.dumps(each))
        return "; ".join(gate.differences(tmp_path / "candidate.json", tmp_path / "baseline.json"))

    assert differences(base) == differences(worse) == ""
    assert differences(other) == "judged_error is not compared: another judge"
    few = base | {"images": {"expression": 8}, "measured": base["measured"] | {"records": "b"}}
    assert "different records" in differences(few)
    assert "8 (expression) against 2000 (expression)" in differences(few)
    assert "do not say which records" in differences(said)
    assert gate.differences(tmp_path / "candidate.json", None) == []
