"""The page in a real browser: drawn, quiet, within its width, light and dark. Needs Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from moerec.evaluation.page.write import write_page
from moerec.evaluation.report import Report
from moerec.evaluation.routing import RoutingReport

pytestmark = pytest.mark.slow

PLOTS = 7
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers, root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
SIZES = """return [...document.querySelectorAll('figure svg')].map(svg => {
    const box = svg.getBoundingClientRect();
    const drawn = svg.querySelector('g').getBoundingClientRect();
    return [box.width, box.height, drawn.width, drawn.height];
});"""
COLOURS = """return [...document.querySelectorAll('figure svg text, figure svg path')].map(
    shape => [getComputedStyle(shape).fill, getComputedStyle(shape).stroke].join(' '));"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    assert driver, "no chromedriver. Debian, Ubuntu: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    # Selenium would look for a newer driver on the network if it were not told of this one.
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def page(
    browser: webdriver.Chrome,
    report: Report,
    routing: RoutingReport,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[webdriver.Chrome]:
    path: Path = tmp_path_factory.mktemp("browser") / "report.html"
    write_page(path, report, routing)
    browser.get(path.as_uri())
    return browser


def test_the_console_is_silent(page: webdriver.Chrome) -> None:
    assert page.get_log("browser") == []
    assert page.title == f"{page.find_element('tag name', 'h1').text.split()[-1]}: quality"


def test_every_plot_is_drawn(page: webdriver.Chrome) -> None:
    sizes = page.execute_script(SIZES)
    assert len(sizes) == PLOTS
    for width, height, drawn_width, drawn_height in sizes:
        assert width > 600
        assert height > 60
        assert drawn_width > 0.8 * width
        assert drawn_height > 0.6 * height


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_nothing_sticks_out(page: webdriver.Chrome, width: int) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_is_dark(page: webdriver.Chrome) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        seen[scheme] = (background, page.execute_script(COLOURS))
    assert seen["light"][0] != seen["dark"][0]
    changed = [one != other for one, other in zip(seen["light"][1], seen["dark"][1], strict=True)]
    assert sum(changed) > 0.9 * len(changed)
