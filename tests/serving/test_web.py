"""The web page in Chromium, against a server process over an export of the packaged checkpoint."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="needs the extra `dev`: pip install playwright")
from playwright.sync_api import sync_playwright
from web_page import CHROMIUM, FLAGS, serve, write_export

from seghgan_tf import expressions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium"),
]

SIDE = 64
NAMES = "() => [...document.querySelectorAll('button, input, select')].map(e => [e.id || e.value, e.labels?.[0]?.innerText || e.ariaLabel || e.innerText])"
CONTRAST = """() => {
  const drawn = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (text) => { drawn.clearRect(0, 0, 1, 1); drawn.fillStyle = text; drawn.fillRect(0, 0, 1, 1); return [...drawn.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return rgba('white'); };
  return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && !e.closest('#picture')).map(e => {
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    return [e.textContent.trim(), (a + .05) / (b + .05)];
  });
}"""


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("web") / "export")


@pytest.fixture(scope="module")
def server(export, tmp_path_factory):
    with serve(export, tmp_path_factory.mktemp("web-server")) as running:
        yield running[1]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def face():
    from tfrecords_tools.drawn_faces import draw_faces, sample_faces

    return draw_faces(sample_faces(1, 11), np.zeros((1, len(expressions.AUS)), np.float32), SIDE)[0][0]


@pytest.fixture
def page(browser, server):
    with browser.new_context(permissions=["camera"]) as context:
        made = context.new_page()
        made.problems, made.asked = [], []
        made.on("console", lambda message: made.problems.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: made.problems.append(str(error)))
        made.on("request", lambda request: made.asked.append(request.url))
        made.goto(server)
        made.locator("#presets input").first.wait_for(state="attached")
        yield made


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def put(page, content, name="face.png", mime="image/png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": mime, "buffer": content})


def load(page, pixels):
    put(page, png(pixels))
    page.locator("#controls.ready").wait_for()


def slide(page, label, value):
    page.locator(f"#slider-{label}").fill(str(value))
    edited(page)


def edited(page):
    page.locator("#status", has_text="The picture is updated.").wait_for(state="attached")


def downloaded(page):
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "edited.png"
    return np.asarray(Image.open(download.value.path()).convert("RGB"))


def test_a_slide_changes_the_picture_and_reset_gives_the_photo_back(page, face, server):
    load(page, face)
    np.testing.assert_array_equal(downloaded(page), face)
    slide(page, "AU12", 5)
    assert (downloaded(page) != face).sum() > 100
    assert page.locator("#latency").inner_text().startswith("Edited in ")
    assert "(+" in page.locator("output[for=slider-AU12]").inner_text()
    page.locator("#reset").click()
    np.testing.assert_array_equal(downloaded(page), face)
    assert page.problems == []
    assert all(url.startswith((server, "blob:", "data:")) for url in page.asked)
    assert page.evaluate("() => localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_a_lock_keeps_every_pixel_elsewhere(page, face, export):
    from seghgan_tf.editing import Editor

    load(page, face)
    page.locator("#locks input[value=mouth]").check(force=True)
    page.locator("#presets input[value=surprised]").check(force=True)
    edited(page)
    changed = (downloaded(page) != face).any(-1)
    editor = Editor.from_export(export)
    regions = editor.run("segment", {"image": (face / 127.5 - 1.0).astype(np.float32)[None]})["regions"][0]
    mouth = regions[..., editor.regions[1:].index("mouth")] > 0
    assert changed.any()
    assert not (changed & ~mouth).any()
    assert "outside the mouth" in page.locator("#locks-help").inner_text()


def test_a_larger_photo_is_edited_in_its_centre_square_as_the_editor_does(page, face, export):
    from seghgan_tf.editing import Editor

    square = np.asarray(Image.fromarray(face).resize((192, 192)))
    photo = np.pad(square, ((0, 0), (30, 31), (0, 0)), constant_values=90)
    load(page, photo)
    page.locator("#presets input[value=happy]").check(force=True)
    edited(page)
    mine = downloaded(page)
    np.testing.assert_array_equal(mine[:, :30], photo[:, :30])
    np.testing.assert_array_equal(mine[:, -31:], photo[:, -31:])
    wanted = {label: expressions.EMOTION_AUS["happy"].get(label, 0.0) for label in expressions.AUS}
    theirs = np.asarray(Image.open(io.BytesIO(Editor.from_export(export).edit(png(photo), wanted))))
    assert np.abs(mine.astype(int) - theirs).mean() < 1.0
    assert np.abs(mine.astype(int) - theirs).mean() < 0.25 * np.abs(theirs.astype(int) - photo).mean()


def test_the_page_knows_the_packages_action_units_and_emotions(page):
    units, emotions = page.evaluate("() => import('/expressions.js').then(m => [m.ACTION_UNITS, m.EMOTIONS])")
    assert {label: name.lower() for label, (_, name, _) in units.items()} == expressions.AU_NAMES
    for region, labels in expressions.AU_REGIONS.items():
        assert {label for label in units if units[label][0] == region} == set(labels)
    assert emotions == expressions.EMOTION_AUS


def test_parts_of_the_face_are_shown_with_a_legend(page, face):
    load(page, face)
    page.locator("#show-overlay").check()
    page.locator("#legend li").first.wait_for()
    assert {"skin", "nose", "upper lip"} <= set(page.locator("#legend li").all_inner_texts())


def test_the_keyboard_alone_edits_and_compares(page, face):
    load(page, face)
    page.locator("#slider-AU12").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    edited(page)
    assert (downloaded(page) != face).any()
    page.locator("#compare").focus()
    page.keyboard.press("Home")
    assert "left 0 percent" in page.locator("#compare").get_attribute("aria-valuetext")
    page.locator("#reset").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.name") == "region"


@pytest.mark.parametrize(("size", "words"), [(0, "not a picture"), (1000, "not a picture"), (33 << 20, "too large")])
def test_a_wrong_file_is_refused_in_words_and_the_photo_stays(page, face, size, words, tmp_path):
    load(page, face)
    with (tmp_path / "wrong.png").open("wb") as file:
        file.truncate(size)
    page.locator("#file").set_input_files(tmp_path / "wrong.png")
    error = page.locator("#error:not([hidden])")
    error.wait_for()
    assert words in error.inner_text()
    assert "Choose" in error.inner_text()
    np.testing.assert_array_equal(downloaded(page), face)


@pytest.mark.parametrize(
    ("status", "words"), [(429, "busy"), (404, "no such model"), (503, "starting or stopping"), (504, "too long")]
)
def test_refusals_of_the_server_are_put_into_words(page, face, status, words):
    load(page, face)
    headers = {"retry-after": "0.01"}
    page.route("**:predict", lambda route: route.fulfill(status=status, headers=headers, body='{"error": "x"}'))
    page.locator("#slider-AU12").fill("5")
    page.locator("#error:not([hidden])", has_text=words).wait_for()
    page.unroute("**:predict")
    page.locator("#retry").click()
    edited(page)
    assert page.locator("#error").is_hidden()


def test_a_server_that_is_gone_is_named(browser, export, face, tmp_path):
    with serve(export, tmp_path) as (process, address), browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        load(page, face)
        process.kill()
        process.wait()
        page.locator("#slider-AU12").fill("5")
        page.locator("#error:not([hidden])", has_text="The server does not answer").wait_for()
        assert page.locator("#retry").is_visible()


def test_only_the_newest_of_many_slides_is_asked_for_one_at_a_time(page, face):
    load(page, face)
    before = sum(url.endswith(":predict") for url in page.asked)
    for value in np.linspace(1, 5, 30):
        page.locator("#slider-AU12").fill(f"{value:.1f}")
    edited(page)
    page.wait_for_timeout(500)
    assert 1 <= sum(url.endswith(":predict") for url in page.asked) - before < 15


def test_the_camera_gives_a_photo_and_is_switched_off(page):
    page.locator("#camera").click()
    page.locator("#shoot").click()
    page.locator("#controls.ready").wait_for()
    assert page.locator("#camera-dialog").is_hidden()
    assert page.locator("#video").evaluate("video => video.srcObject") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_one_way_and_everything_is_named_and_readable(page, face, scheme, server):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    load(page, face)
    page.locator("#presets input[value=happy]").check(force=True)
    edited(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert [key for key, name in page.evaluate(NAMES) if not (name or "").strip()] == []
    assert [(text[:40], ratio) for text, ratio in page.evaluate(CONTRAST) if ratio < 4.5] == []
    page.locator("#theme").select_option("dark")
    assert page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "dark"
    assert page.evaluate("() => Object.keys(localStorage)") == ["theme"]
