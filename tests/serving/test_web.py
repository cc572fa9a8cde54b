"""The web page in Chromium, against a server process over an export of the packaged checkpoint."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

pytest.importorskip("playwright", reason="needs the extra `dev`: pip install playwright")
from playwright.sync_api import Error, sync_playwright
from web_page import CHROMIUM, FLAGS, host, serve, write_config

from seghgan_tf import expressions, regions

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
def export(packaged):
    return packaged.parent


@pytest.fixture(scope="module")
def server(export, tmp_path_factory):
    config = write_config(export, tmp_path_factory.mktemp("web"))
    with serve(config, tmp_path_factory.mktemp("web-server")) as running:
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
        made.problems, made.asked, made.bodies = [], [], []
        made.on("console", lambda message: made.problems.append(message.text) if message.type == "error" else None)
        made.on("pageerror", lambda error: made.problems.append(str(error)))
        made.on("request", lambda request: note(made, request))
        visit(made, server)
        yield made


def note(page, request):
    page.asked.append(request.url)
    if request.url.endswith(":predict"):
        page.bodies.append(json.loads(request.post_data))


def visit(page, address):
    page.goto(address)
    page.locator("#presets input").first.wait_for(state="attached")


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
    assert download.value.suggested_filename.endswith("-edited.png")
    return np.asarray(Image.open(download.value.path()).convert("RGB"))


def test_a_slide_changes_the_picture_and_reset_gives_the_photo_back(page, face, server):
    load(page, face)
    np.testing.assert_array_equal(downloaded(page), face)
    slide(page, "AU12", 5)
    assert (downloaded(page) != face).sum() > 100
    assert page.locator("#latency").inner_text().startswith("Edited in ")
    assert page.locator("output[for=slider-AU12]").inner_text().startswith("+")
    page.locator("#reset").click()
    np.testing.assert_array_equal(downloaded(page), face)
    assert page.problems == []
    assert all(url.startswith((server, "blob:", "data:")) for url in page.asked)
    assert page.evaluate("() => localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_a_lock_keeps_every_pixel_elsewhere(page, face, export, open_once):
    from seghgan_tf.photos import read

    load(page, face)
    page.locator("#locks input[value=mouth]").check(force=True)
    page.locator("#presets input[value=surprised]").check(force=True)
    edited(page)
    mine = downloaded(page)
    changed = (mine != face).any(-1)
    wanted = {label: expressions.EMOTION_AUS["surprised"].get(label, 0.0) for label in expressions.AUS}
    theirs = read(open_once(export).edit(png(face), wanted, regions=["mouth"])).pixels
    assert changed.any()
    assert not changed[: SIDE // 2].any()
    assert np.abs(mine.astype(int) - theirs).max() <= 3
    assert "outside the mouth" in page.locator("#locks-help").inner_text()


def test_a_face_is_found_in_a_larger_photo_and_edited_as_the_editor_does(page, face, export, open_once):
    from seghgan_tf.photos import read

    square = np.asarray(Image.fromarray(face).resize((192, 192)))
    photo = np.pad(square, ((20, 0), (30, 331), (0, 0)), constant_values=90)
    load(page, photo)
    assert page.locator(".face-box").count() == 0
    page.locator("#presets input[value=happy]").check(force=True)
    edited(page)
    mine = downloaded(page)
    np.testing.assert_array_equal(mine[:, 240:], photo[:, 240:])
    wanted = {label: expressions.EMOTION_AUS["happy"].get(label, 0.0) for label in expressions.AUS}
    theirs = read(open_once(export).edit(png(photo), wanted)).pixels
    assert (theirs != photo).any()
    assert np.abs(mine.astype(int) - theirs).max() <= 3


def test_one_of_several_faces_is_chosen(page, face):
    large, small = (np.asarray(Image.fromarray(face).resize((side, side))) for side in (200, 120))
    photo = np.full((220, 400, 3), 90, np.uint8)
    photo[10:210, 10:210], photo[50:170, 250:370] = large, small
    load(page, photo)
    assert page.locator(".face-box").count() == 2
    slide(page, "AU12", 5)
    changed = (downloaded(page) != photo).any(-1)
    assert changed[:, :220].any()
    assert not changed[:, 230:].any()
    page.get_by_role("button", name="Face 2 of 2").click()
    page.locator("#status", has_text="Face 2 of 2").wait_for(state="attached")
    np.testing.assert_array_equal(downloaded(page), photo)
    slide(page, "AU12", 5)
    changed = (downloaded(page) != photo).any(-1)
    assert changed[:, 230:].any()
    assert not changed[:, :220].any()


def test_a_photo_without_a_face_is_refused_unless_one_insists(page):
    photo = np.random.default_rng(0).integers(60, 190, (90, 120, 3), np.uint8)
    put(page, png(photo))
    page.locator("#error:not([hidden])", has_text="No face was found").wait_for()
    page.get_by_role("button", name="Take the middle").click()
    page.locator("#controls.ready").wait_for()
    slide(page, "AU12", 5)
    changed = (downloaded(page) != photo).any(-1)
    assert changed.any()
    assert not changed[:, :15].any()
    assert not changed[:, 105:].any()


def test_an_edited_download_says_so_inside(page, face):
    load(page, face)
    slide(page, "AU12", 5)
    with page.expect_download() as download:
        page.locator("#download").click()
    image = Image.open(io.BytesIO(download.value.path().read_bytes()))
    image.verify()
    assert "compositeWithTrainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
    assert "compositeWithTrainedAlgorithmicMedia" in image.info["Comment"]


def test_a_cut_out_stays_clear_and_is_sent_on_white(page, face, export, open_once):
    from seghgan_tf.photos import read

    square = np.asarray(Image.fromarray(face).resize((192, 192)))
    photo = np.pad(np.dstack([square, np.full((192, 192), 255, np.uint8)]), ((20, 20), (40, 40), (0, 0)))
    photo[:, 150:232, 3] = 128
    load(page, photo)
    page.locator("#presets input[value=happy]").check(force=True)
    edited(page)
    assert "EXIF" in page.locator("#kept").inner_text()
    with page.expect_download() as download:
        page.locator("#download").click()
    mine = np.asarray(Image.open(download.value.path())).astype(int)
    np.testing.assert_array_equal(mine[..., 3], photo[..., 3])
    wanted = {label: expressions.EMOTION_AUS["happy"].get(label, 0.0) for label in expressions.AUS}
    theirs = np.asarray(Image.open(io.BytesIO(open_once(export).edit(png(photo), wanted)))).astype(int)
    seen = photo[..., 3] > 0
    assert (theirs != photo)[photo[..., 3] == 128].any()
    assert np.abs(mine - theirs)[seen].max() <= 8
    for body in page.bodies:
        sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["instances"][0]["image_bytes"]["b64"]))))
        assert (sent[..., 3:] == 255).all()
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(page.bodies[0]["instances"][0]["image_bytes"]["b64"]))))
    assert np.abs(whole[..., :3].astype(int) - read(png(photo)).pixels).max() <= 1


def test_the_page_shows_the_manifests_action_units_by_region_and_its_emotions(page):
    sliders = page.locator("#sliders")
    assert sliders.locator("legend").all_text_contents() == ["Eyes", "Nose", "Mouth"]
    units = [unit for region in regions.REGIONS.values() for unit in region.units]
    assert sliders.locator("b").all_text_contents() == units
    assert "AU12 Lip corner puller (smile)" in sliders.locator("label").all_text_contents()
    chips = page.locator("#presets input[name=emotion]").all()
    assert [chip.get_attribute("value") for chip in chips] == list(expressions.EMOTIONS)


def test_an_export_of_before_whose_manifest_names_neither_units_nor_emotions_still_edits(page, face):
    page.route("**/manifest.json", lambda route: bare(route))
    page.reload()
    page.locator("#slider-AU12").wait_for(state="attached")
    assert page.locator("#sliders legend").all_text_contents() == ["Expression"]
    load(page, face)
    assert page.locator("#presets").is_hidden()
    slide(page, "AU12", 5)
    assert (downloaded(page) != face).any()
    assert page.problems == []


def bare(route):
    manifest = route.fetch().json()
    del manifest["model"]["units"], manifest["model"]["emotions"]
    route.fulfill(json=manifest)


def test_a_unit_that_the_model_was_not_shown_to_obey_has_no_slider(page, face):
    page.route("**/manifest.json", lambda route: unproven(route))
    page.reload()
    page.locator("#slider-AU12").wait_for(state="attached")
    assert page.locator("#slider-AU26").count() == 0
    load(page, face)
    slide(page, "AU12", 5)
    assert (downloaded(page) != face).any()
    assert page.problems == []


def unproven(route):
    manifest = route.fetch().json()
    manifest["model"]["expression"]["unproven"] = ["AU26"]
    route.fulfill(json=manifest)


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
    np.testing.assert_array_equal(downloaded(page), face)
    page.locator("#slider-AU25").focus()
    page.keyboard.press("End")
    page.keyboard.press("Delete")
    assert page.locator("output[for=slider-AU25] i").count() == 0


@pytest.mark.parametrize(("size", "words"), [(0, "is empty"), (1000, "not a picture"), (33 << 20, "too large")])
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
    ("status", "words"), [(429, "busy"), (404, "no such model"), (503, "overloaded"), (504, "too long")]
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


def test_only_the_newest_of_many_slides_is_asked_for_one_at_a_time(page, face):
    load(page, face)
    before = len(page.bodies)
    page.evaluate("""() => {
        const slider = document.querySelector("#slider-AU12");
        for (let step = 10; step <= 40; step += 1) {
            slider.value = String(step / 10);
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        }
    }""")
    page.locator("#picture[aria-busy=false]").wait_for()
    asked = [body["instances"][0]["expression"][8] for body in page.bodies[before:]]
    assert len(asked) == 2
    assert asked[-1] == pytest.approx(0.8, abs=0.011)


def test_the_picture_follows_a_slider_that_never_rests(page, face):
    load(page, face)
    pictures = page.evaluate("""async () => {
        const slider = document.querySelector("#slider-AU12"), told = document.querySelector("#latency");
        let pictures = 0;
        new MutationObserver(() => { pictures += 1; }).observe(told, { childList: true });
        for (let step = 0; pictures < 3 && step < 3000; step += 1) {
            slider.value = String(2.5 + 2.5 * Math.sin(step / 20));
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await new Promise(requestAnimationFrame);
        }
        return pictures;
    }""")
    assert pictures >= 3


def test_the_camera_gives_a_photo_and_is_switched_off(page):
    page.locator("#camera").click()
    page.locator("#shoot").click()
    page.locator("#error:not([hidden])", has_text="No face was found").wait_for()
    assert page.locator("#camera-dialog").is_hidden()
    assert page.evaluate("() => document.activeElement.id") == "camera"
    page.locator("#retry").click()
    page.locator("#controls.ready").wait_for()
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


def test_a_camera_that_is_refused_is_named(browser, server):
    with browser.new_context() as context:
        page = context.new_page()
        visit(page, server)
        page.locator("#camera").click()
        page.locator("#error:not([hidden])", has_text="camera was not allowed").wait_for()
        assert page.locator("#retry").is_hidden()
        page.locator("#dismiss").click()
        assert page.locator("#error").is_hidden()


def test_a_photo_may_be_dropped_pasted_or_chosen(page, face, tmp_path):
    hand = """([kind, bytes]) => {
      const held = new DataTransfer();
      held.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], `${kind}.png`, {type: 'image/png'}));
      document.dispatchEvent(kind === 'drop' ? new DragEvent(kind, {dataTransfer: held, cancelable: true}) : new ClipboardEvent(kind, {clipboardData: held}));
    }"""
    for kind, pixels in (("drop", face[:, ::-1]), ("paste", face)):
        page.evaluate(hand, [kind, base64.b64encode(png(pixels)).decode()])
        page.locator("#controls.ready").wait_for()
        np.testing.assert_array_equal(downloaded(page), pixels)
    (tmp_path / "turned.png").write_bytes(png(face[:, ::-1]))
    page.locator("#file").set_input_files(tmp_path / "turned.png")
    page.locator("#controls.ready").wait_for()
    np.testing.assert_array_equal(downloaded(page), face[:, ::-1])


def until(page, condition):
    """Wait, ten seconds at most, for something that the test sees and the page does not show."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("not within ten seconds")


def test_one_request_is_in_flight_and_a_stale_answer_is_dropped(page, face):
    load(page, face)
    held, ended = [], []
    page.on("requestfailed", lambda request: ended.append(request))
    page.on("requestfinished", lambda request: ended.append(request))
    page.route("**:predict", lambda route: held.append(route))
    page.locator("#slider-AU12").fill("2")
    until(page, lambda: held)
    for value in ("3", "4"):
        page.locator("#slider-AU12").fill(value)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert len(held) == 1
    assert page.locator("#picture").get_attribute("aria-busy") == "true"
    held[0].continue_()
    edited(page)
    until(page, lambda: len(held) == 2)
    asked = [json.loads(route.request.post_data)["instances"][0]["expression"][8] for route in held]
    np.testing.assert_allclose(asked, [0.4, 0.8], atol=0.011)
    page.unroute("**:predict")
    load(page, face[:, ::-1])
    with contextlib.suppress(Error):  # where the page's taking it back has come through already
        held[1].continue_()
    until(page, lambda: held[1].request in ended)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    np.testing.assert_array_equal(downloaded(page), face[:, ::-1])


def test_a_drawn_face_that_fails_to_load_is_tried_again(page):
    page.route("**/face-1.jpg", lambda route: route.abort())
    page.locator("[data-face='face-1.jpg']").click()
    page.locator("#error:not([hidden])", has_text="drawn face cannot be loaded").wait_for()
    page.unroute("**/face-1.jpg")
    page.locator("#retry").click()
    page.locator("#controls.ready").wait_for()
    assert page.locator("#error").is_hidden()


def test_a_large_photo_turned_by_exif_is_upright_and_comes_back_at_its_size(page, face):
    photo = Image.new("RGB", (4000, 6000), "grey")
    photo.paste(Image.fromarray(face).resize((1600, 1600), Image.Resampling.BICUBIC), (500, 700))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=85, exif=exif)
    put(page, file.getvalue(), "phone.jpg", "image/jpeg")
    page.locator("#controls.ready").wait_for()
    page.locator("#presets input[value=happy]").check(force=True)
    edited(page)
    assert page.evaluate("() => [before.width, before.height]") == [683, 1024]
    mine = downloaded(page)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    assert mine.shape == upright.shape == (6000, 4000, 3)
    assert np.abs(mine[3000::9, ::9].astype(int) - upright[3000::9, ::9]).max() <= 4
    assert (np.abs(mine[700:2300:9, 500:2100:9].astype(int) - upright[700:2300:9, 500:2100:9]) > 4).any()


def test_a_photo_of_too_many_pixels_is_scaled_down_and_heic_is_named(page, face):
    page.route("**/manifest.json", lambda route: smaller(route))
    page.reload()
    page.locator("#presets input").first.wait_for(state="attached")
    load(page, np.asarray(Image.fromarray(face).resize((200, 100))))
    assert "100 × 50" in page.locator("#note").inner_text()
    assert downloaded(page).shape == (50, 100, 3)
    put(page, b"\x00\x00\x00\x18ftypheic" + bytes(99), "photo.heic", "image/heic")
    page.locator("#error:not([hidden])", has_text="HEIC").wait_for()


def smaller(route):
    manifest = route.fetch().json()
    manifest["model"]["max_pixels"] = 5000
    route.fulfill(json=manifest)


def test_a_model_of_emotions_takes_one_of_them(page, face, server):
    visit(page, f"{server}?model=emotions")
    load(page, face)
    assert page.locator("#tuning").is_hidden()
    assert page.locator("#strength-row").is_hidden()
    with page.expect_request("**:predict") as asked:
        page.locator("#presets input[value=sad]").check(force=True)
    edited(page)
    assert json.loads(asked.value.post_data)["instances"][0]["expression"] == [0, 0, 1, 0, 0, 0, 0, 0]
    page.locator("#reset").click()
    np.testing.assert_array_equal(downloaded(page), face)
    assert page.problems == []


def test_a_model_of_valence_and_arousal_has_a_slider_for_each(page, face, server):
    visit(page, f"{server}?model=va")
    load(page, face)
    assert page.locator("#presets").is_hidden()
    assert page.locator("#sliders legend").all_text_contents() == ["Expression"]
    slider = page.locator("#slider-valence")
    assert [slider.get_attribute(name) for name in ("min", "max")] == ["-1", "1"]
    with page.expect_request("**:predict") as asked:
        slider.fill("-0.76")
    edited(page)
    assert json.loads(asked.value.post_data)["instances"][0]["expression"][0] == pytest.approx(-0.76)
    assert page.locator("output[for=slider-valence]").inner_text().endswith("-0.76")
    assert page.problems == []


def test_an_emotion_of_half_strength_goes_half_the_way(page, face):
    load(page, face)
    seen = float(page.locator("#slider-AU12").input_value())
    page.locator("#presets input[value=happy]").check(force=True)
    page.locator("#strength").fill("50")
    edited(page)
    assert float(page.locator("#slider-AU12").input_value()) == pytest.approx((seen + 4) / 2, abs=0.11)
    page.locator("#slider-AU12").fill("5")
    assert page.locator("#presets input:checked").count() == 0
    assert page.locator("#strength").is_disabled()


TAB = """() => {
  const at = document.activeElement;
  const shown = at.matches('.hidden') ? at.nextElementSibling : at.closest('.chip') ?? (at.id === 'compare' ? at.parentElement : at);
  return [at.id || at.value || at.dataset.face || at.className, getComputedStyle(shown).outlineStyle];
}"""


def test_tab_walks_through_everything_in_order_with_a_visible_focus(page, face):
    load(page, face)
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    walked = []
    for _ in range(60):
        page.keyboard.press("Tab")
        walked.append(page.evaluate(TAB))
        if walked[-1][0] == "slider-AU26":
            break
    assert [key for key, outline in walked if outline == "none"] == []
    order = [
        "skip",
        "theme",
        "compare",
        "show-overlay",
        "reset",
        "download",
        "file",
        "camera",
        "face-1.jpg",
        "face-4.jpg",
    ]
    order += ["neutral", "eyes", "nose", "mouth", "slider-AU01", "slider-AU12", "slider-AU26"]
    keys = [key for key, _ in walked]
    assert [key for key in keys if key in order] == order


def test_a_screen_reader_is_told_names_and_news(page, face):
    load(page, face)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    told = {"button", "slider", "checkbox", "radio", "combobox", "image", "group", "form", "region"}
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node.get("ignored")]
    assert [role for role, name in found if role in told and not name.strip()] == []
    assert ("radio", "Happy") in found
    assert ("group", "Emotion") in found
    assert ("slider", "AU12 Lip corner puller (smile)") in found
    assert ("slider", "Compare before and after") in found
    page.evaluate(
        "() => { window.news = []; new MutationObserver(() => news.push(document.querySelector('#status').textContent)).observe(document.querySelector('#status'), {childList: true}); }"
    )
    slide(page, "AU12", 5)
    page.locator("#reset").click()
    page.locator("#status", has_text="as it was").wait_for(state="attached")
    assert page.evaluate("() => news.filter(Boolean)") == ["The picture is updated.", "The photo is as it was."]
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert page.locator("#error").get_attribute("role") == "alert"


def test_less_motion_is_kept_to(page, face):
    load(page, face)
    name = "() => { picture.ariaBusy = 'true'; return getComputedStyle(picture, '::after').animationName; }"
    assert "slide" in page.evaluate(name)
    page.emulate_media(reduced_motion="reduce")
    assert "slide" not in page.evaluate(name)


@pytest.mark.parametrize("width", [1440, 1024, 768, 390, 320])
def test_no_width_scrolls_sideways_and_the_picture_stays_in_sight(page, face, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    load(page, face)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.locator("#slider-AU26").focus()
    picture, slider = page.locator("#picture").bounding_box(), page.locator("#slider-AU26").bounding_box()
    assert picture["y"] >= 0
    assert picture["y"] + picture["height"] < 800
    assert slider["y"] > picture["y"] + picture["height"] or slider["x"] > picture["x"] + picture["width"]
    if width < 832:
        drop = page.locator("#drop").bounding_box()
        assert (drop["x"], drop["width"]) == (0, page.evaluate("() => document.documentElement.clientWidth"))


def test_a_static_host_in_front_of_rest_serves_the_page_and_may_go_and_come_back(browser, server, export, face):
    manifest = export / "1" / "manifest.json"
    with browser.new_context() as context:
        page = context.new_page()
        with host(server, manifest) as port:
            visit(page, f"http://127.0.0.1:{port}/")
            page.wait_for_function("() => document.querySelector('#server').innerText !== 'Connecting…'")
            assert page.locator("#server").inner_text() == "Model seghgan"
            load(page, face)
            slide(page, "AU12", 4)
        page.locator("#slider-AU12").fill("5")
        page.locator("#error:not([hidden])", has_text="The server does not answer").wait_for()
        with host(server, manifest, port):
            page.locator("#retry").click()
            page.locator("#error[hidden]").wait_for(state="attached")
            assert (downloaded(page) != face).any()
            page.goto("about:blank")
