"""Make docs/web.md's pictures: `python -m docs.web_pictures` serves the packaged model and photographs the page in Chromium."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import skimage.data
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from seghgan_tf.demo.run import served
from seghgan_tf.editing import PRESET
from seghgan_tf.export import export
from seghgan_tf.model import SegHGAN

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
DESKTOP, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}


def main() -> None:
    """Write web-start, web-light, web-dark and web-phone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()[:240, 104:344]).save(photo)
        export(SegHGAN.from_preset(PRESET), folder / "export")
        with served(folder / "export", folder, "rest") as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport=DESKTOP, base_url=f"http://{address}")
            page.goto("/")
            page.locator("#presets input").first.wait_for(state="attached")
            page.screenshot(path=IMAGES / "web-start.png")
            _edit(page, photo, "sad")
            page.screenshot(path=IMAGES / "web-light.png")
            page.select_option("#theme", "dark")
            page.get_by_text("Face parts").click()
            page.locator("#locks input[value=eyes]").check(force=True)
            _wait(page)
            page.screenshot(path=IMAGES / "web-dark.png")
            page = browser.new_page(viewport=PHONE, base_url=f"http://{address}")
            page.goto("/")
            _edit(page, photo, "surprised")
            page.screenshot(path=IMAGES / "web-phone.png")
            browser.close()


def _edit(page: Page, photo: Path, emotion: str) -> None:
    page.set_input_files("#file", photo)
    page.locator("#picture").wait_for()
    page.locator(f"#presets input[value={emotion}]").check(force=True)
    _wait(page)


def _wait(page: Page) -> None:
    page.locator("#latency").wait_for()
    page.wait_for_timeout(3000)  # a picture, not a test: the answers come in a fifth of a second


if __name__ == "__main__":
    main()
