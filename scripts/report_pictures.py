"""Takes docs/images/report*.png of a quality report, with Chromium: `scripts/report_pictures.py report.html`.

The pictures of the documents are of a bundle that is trained on the demo data for three epochs (see
docs/getting-started.md).
"""

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

IMAGES = Path(__file__).parents[1] / "docs/images"
WIDTH = 1280
# Picture: the sections from one to another, and the theme.
PICTURES = {
    "report.png": ("header", "#ranks", "light"),
    "report-experts.png": ("#load", "#specialisation", "dark"),
}
EDGES = """const top = document.querySelector(arguments[0]).getBoundingClientRect().top;
const end = document.querySelector(arguments[1]).getBoundingClientRect().bottom;
return [top + scrollY, end + scrollY];"""


def take(report: Path) -> None:
    """Write every picture of `PICTURES`."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WIDTH},900"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(report.resolve().as_uri())
        for name, (first, last, scheme) in PICTURES.items():
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            top, end = browser.execute_script(EDGES, first, last)
            clip = {"x": 0, "y": top - 12, "width": WIDTH, "height": end - top + 24, "scale": 1}
            shot = browser.execute_cdp_cmd(
                "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
            )
            picture = Image.open(io.BytesIO(base64.b64decode(shot["data"])))
            # A palette of 256 colours is a third of the size, and looks the same.
            picture.convert("RGB").quantize(256).save(IMAGES / name, optimize=True)
    finally:
        browser.quit()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
