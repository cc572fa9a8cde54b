"""How soon the web page's picture follows a slider: from the input to the picture, and pictures a second while it is dragged.

python benchmarks/serve/drag.py --export exports

The astronaut photograph of scikit-image in Debian's Chromium, at several sizes; browser and server share the machine.
"""

import tempfile
from pathlib import Path
from statistics import median, quantiles

import bench
import skimage.data
from PIL import Image
from playwright.sync_api import sync_playwright

from seghgan_tf.demo.run import served

SIDES = (512, 1024)
MOVE = """async (value) => {
  const slider = document.querySelector("#slider-AU12"), told = document.querySelector("#latency");
  const shown = new Promise((done) => new MutationObserver((_, all) => { all.disconnect(); requestAnimationFrame(() => done(performance.now())); }).observe(told, { childList: true }));
  const began = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return await shown - began;
}"""
DRAG = """async (seconds) => {
  const slider = document.querySelector("#slider-AU12"), told = document.querySelector("#latency");
  let pictures = 0;
  const counted = new MutationObserver(() => { pictures += 1; });
  counted.observe(told, { childList: true });
  const began = performance.now();
  for (let now = began; now - began < seconds * 1000; now = await new Promise(requestAnimationFrame)) {
    slider.value = String(2.5 - 2.5 * Math.cos((now - began) / 500));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
  counted.disconnect();
  return pictures / seconds;
}"""


def main() -> None:
    """Measure, print and save."""
    arguments = bench.parser(__doc__ or "", exports=True)
    arguments.add_argument("--moves", type=int, default=40, help="how often the slider is moved a step and left alone")
    arguments.add_argument("--seconds", type=float, default=10.0, help="how long it is dragged")
    given = arguments.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        with served(given.export, folder, "rest") as address:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for side in SIDES:
                photo = folder / f"{side}.png"
                Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.LANCZOS).save(photo)
                page = browser.new_page(base_url=f"http://{address}")
                page.goto("/")
                page.locator("#presets input").first.wait_for(state="attached")
                page.set_input_files("#file", photo)
                page.locator("#controls.ready").wait_for()
                waits = [page.evaluate(MOVE, str(i % 2 + i / 100)) for i in range(given.moves)][5:]
                result[str(side)] = {
                    "p50_ms": round(median(waits)),
                    "p95_ms": round(quantiles(waits, n=20)[-1]),
                    "pictures_per_second": round(page.evaluate(DRAG, given.seconds), 1),
                }
                page.close()
            browser.close()
    bench.save("drag", given, given.export, result)


if __name__ == "__main__":
    main()
