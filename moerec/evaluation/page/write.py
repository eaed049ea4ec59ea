"""`moerec evaluate --report`: one HTML file that opens offline, without a script in it."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moerec.artifacts.files import write_file
from moerec.errors import UsageError

if TYPE_CHECKING:
    # At run time they would load torch before `require_libraries` can say that something is missing.
    from moerec.evaluation.page.parts import Section
    from moerec.evaluation.report import Report
    from moerec.evaluation.routing import RoutingReport

TEMPLATES: Final = Path(__file__).parent


def require_libraries() -> None:
    """UsageError if what the page is made with is not installed."""
    for name in ("jinja2", "matplotlib"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"the report needs {name}, which is not installed",
                'Install it: pip install "moerec[report]"',
            ) from error


def write_page(path: Path, report: "Report", routing: "RoutingReport | None") -> None:
    """Write the page. Raises UsageError without the libraries, StorageError if the disk refuses."""
    require_libraries()
    import jinja2

    # Titles, categories, ids and file names come from anybody: everything is escaped, and only the
    # drawings, which hold none of them, are marked as markup in the template.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        sections=sections(report, routing), report=report, facts=facts(report)
    )
    write_file(path, page.encode())


def sections(report: "Report", routing: "RoutingReport | None") -> "list[Section]":
    """What there is to say; a section without its data is left out."""
    from moerec.evaluation.page import experts, lists, popularity

    found = [lists.summary(report), experts.learning(report.bundle)]
    found += [lists.ranks(report), lists.lengths(report)]
    if routing is not None:
        found += [
            experts.load(routing),
            experts.difficulty(routing),
            experts.specialisation(routing),
        ]
    if report.liked is not None:
        found.append(popularity.liked(report.liked))
    return [*found, popularity.popularity(report)]


def facts(report: "Report") -> dict[str, Any]:
    """How it was measured, and what the bundle says of itself."""
    manifest = report.bundle.manifest
    data = manifest.data
    measured = {
        "held-out part": f"{report.part}, {manifest.held_out}",
        "users ranked": f"{len(report.questions):,}",
        "users without a held-out event": f"{report.short_users:,}",
        "held-out events of unknown items, counted as misses": f"{report.unknown_targets:,}",
        "candidates": f"the whole catalogue, seen items {'kept' if report.keep_seen else 'removed'}",
        "ties": "against the model",
        "bundle": manifest.version,
        "written": f"{manifest.created} by moerec {manifest.code_version}",
        "trained on": f"{data.source}: {data.events:,} events, {data.users:,} users, {data.items:,} items",
    }
    measured |= {
        f"baselines, {number}": note for number, note in enumerate(report.baseline_notes, 1)
    }
    return measured | {f"model: {name}": value for name, value in report.bundle.config.items()}
