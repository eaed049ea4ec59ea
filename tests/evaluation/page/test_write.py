"""The page: every section, true numbers, nothing from outside, and no text that becomes markup."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from moerec.errors import StorageError
from moerec.evaluation.page import experts, lists
from moerec.evaluation.page.write import sections, write_page
from moerec.evaluation.report import Report
from moerec.evaluation.routing import RoutingReport
from tests.evaluation.page.conftest import HOSTILE_CATEGORY, HOSTILE_SOURCE, HOSTILE_TITLE

ALL_SECTIONS = [
    "summary",
    "learning",
    "ranks",
    "lengths",
    "load",
    "difficulty",
    "specialisation",
    "calibration",
    "popularity",
    "facts",
]
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Reads a page as a browser would, and complains of a tag that is closed in the wrong place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def written(folder: Path, report: Report, routing: RoutingReport | None) -> str:
    write_page(folder / "report.html", report, routing)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(report: Report, routing: RoutingReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("written"), report, routing)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_every_section_is_there_and_linked(page: Page) -> None:
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert ids == ALL_SECTIONS
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"#{key}" for key in ALL_SECTIONS]


def test_each_plot_has_words_and_numbers(report: Report, routing: RoutingReport) -> None:
    for section in sections(report, routing):
        assert section.shows.endswith(".")
        assert section.good.endswith(".")
        assert section.finding
        assert section.tables
        for figure in section.figures:
            assert figure.svg.count("<path") + figure.svg.count("<use") > 3
            assert figure.label


def test_the_numbers_are_the_reports(report: Report, routing: RoutingReport, page: Page) -> None:
    for result in report.results:
        for value in result.summary.values():
            assert f"{value:.4f}" in page.texts
    for load in routing.load_LE.flatten().tolist():
        assert f"{load:,}" in page.texts
    assert f"{routing.shares_LE[0, 0]:.1%}" in page.texts
    records = report.bundle.manifest.training["epoch_records"]
    assert [f"{record['loss']:.4f}" in page.texts for record in records] == [True, True]


def test_hostile_text_stays_text(page: Page) -> None:
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    joined = " ".join(page.texts)
    assert f"{HOSTILE_TITLE} (item" in joined
    assert HOSTILE_CATEGORY in page.texts
    assert HOSTILE_SOURCE in page.texts
    assert "映画" in page.texts


def test_nothing_comes_from_outside(text: str, page: Page) -> None:
    references = [*page.attributes("href"), *page.attributes("xlink:href"), *page.attributes("src")]
    assert len(references) > 20
    assert all(reference.startswith(("#", "data:,")) for reference in references)
    assert not re.findall(r"url\((?!#)|@import", text)


def test_drawings_share_no_name_and_take_the_pages_colours(text: str, page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert not re.search("#0000[af]", text)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    defined = set(re.findall(r"^ *--([\w-]+):|[;{] *--([\w-]+):", text, re.MULTILINE))
    assert used <= {name for pair in defined for name in pair} | {"heat"}


def test_sections_without_data_are_left_out(report: Report, tmp_path: Path) -> None:
    page = Page(written(tmp_path, replace(report, relevance=None), None))
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert ids == ["summary", "learning", "ranks", "lengths", "popularity", "facts"]


def test_a_bundle_from_before_the_record(report: Report, tmp_path: Path) -> None:
    import msgspec

    training = {"trained_events": 1}
    manifest = msgspec.structs.replace(report.bundle.manifest, training=training)
    old = replace(report, bundle=replace(report.bundle, manifest=manifest))
    assert "does not say how its training went" in written(tmp_path, old, None)


def test_it_says_who_leads(report: Report) -> None:
    """The model beside baselines whose targets all rank last, and all rank first."""
    own = report.results[0]
    for rank, well in ((200, True), (1, False)):
        other = replace(own, name="other", ranks=np.full_like(own.ranks, rank))
        found = lists.summary(replace(report, results=[own, other]))
        assert found.well is well
        assert "(other)" in found.finding
    assert lists.summary(replace(report, results=[own])).well is None
    same = lists.summary(replace(report, results=[own, replace(own, name="twin")]))
    assert same.well is False
    assert "within chance" in same.finding


def test_groups_in_which_a_baseline_leads_are_named(report: Report) -> None:
    own = report.results[0]
    best = replace(own, name="other", ranks=np.ones_like(own.ranks))
    found = lists.lengths(replace(report, results=[own, best]))
    assert "A baseline leads among users with 11-20 events" in found.finding
    assert lists.lengths(replace(report, results=[best, own])).well is True
    assert lists.lengths(replace(report, results=[own])).well is None


def test_an_overloaded_or_dead_expert_is_named(routing: RoutingReport) -> None:
    lopsided = np.array([[900, 50, 50, 0, 50, 50, 50, 50]] * 2)
    found = experts.load(replace(routing, load_LE=lopsided))
    assert found.well is False
    assert "Dead: expert 4 of layer 1, expert 4 of layer 2." in found.finding
    assert "expert 1 of layer 1, with 75.0% of its layer's work" in found.finding
    found = experts.load(replace(routing, load_LE=np.full((2, 8), 90)))
    assert found.well is True
    assert "No expert is dead" in found.finding


def test_a_folder_that_is_not_there(report: Report, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_page(tmp_path / "nowhere" / "report.html", report, None)


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_library_is_said_before_the_work(library: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from moerec.cli.main import main\n"
        "sys.exit(main(['evaluate', 'no-bundle', 'no-log', '--report', 'report.html']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"the report needs {library}" in done.stderr
    assert 'pip install "moerec[report]"' in done.stderr
