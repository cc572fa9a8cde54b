"""The HTML report in a browser: no error, nothing fetched, no script, the right numbers, no wider than a phone."""

import pytest
from playwright.sync_api import sync_playwright

from tests.data_tools import layouts
from tests.serving.web_page import CHROMIUM, FLAGS
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing
from tfrecords_tools.inspect import overview
from tfrecords_tools.report import write_report

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    source = layouts.celebamask(root / "in", 30)
    (source / "CelebA-HQ-img" / "30.jpg").touch()
    (source / "CelebA-HQ-img" / "31.jpg").write_text("no image")
    table = layouts.write_aus(root / "aus.csv", [f"{n}.jpg" for n in range(30)], layouts.drawn(30)[2])
    how = Conversion("celebamask", str(source), Picturing(64), actions=ActionTable(str(table)), validation=3, test=2)
    convert(how, root / "<records>")
    write_report(root / "report.html", root / "<records>", overview(root / "<records>"))
    return root / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_shows_the_right_numbers_and_fits_without_script_or_network(report, width, scheme):
    errors, fetched = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=False
        )
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(report.as_uri())
        rows = page.locator("tr").all_inner_texts()
        assert page.locator("h1").inner_text() == "<records>"
        assert page.locator(".sheet img").count() == 48
        assert all(image.get_attribute("alt") for image in page.locator("img").all())
        assert page.locator("svg[role=img][aria-label]").count() == page.locator("svg").count() == 17
        wide = page.locator("main").bounding_box()
        shown = page.locator(".bar").first.bounding_box()
        browser.close()
    cells = [row.split() for row in rows]
    assert ["train", "27", "unknown", "1"] in cells  # of 32 photos 5 went elsewhere, among them the two broken ones
    assert ["validation", "2", "unknown", "1"] in cells
    assert ["test", "1", "unknown", "1"] in cells
    assert ["empty_file", "1"] in cells
    assert ["not_an_image", "1"] in cells
    mean = layouts.drawn(30)[2][:, 0].mean()
    assert any(
        row[0] == "AU01" and row[4] == "30" and abs(float(row[5]) - mean) < 0.02 for row in cells if len(row) > 5
    )
    assert errors == []
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []
    assert wide["x"] >= 0
    assert wide["width"] <= width
    assert shown["width"] > 20
