"""The documentation says what is there: tests that exist, links that lead somewhere, generated parts up to date."""

import ast
import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tsd.observe.metric_names import METRICS
from tsd.observe.metrics import Sheet

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
POINT_RANGES = {"E": range(1, 49), "B": range(1, 14), "J": range(1, 25)}
POINTS = [
    *(f"{letter}{number}" for letter, numbers in POINT_RANGES.items() for number in numbers),
    *(f"cluster {number}" for number in range(1, 36)),
    *(f"operations {number}" for number in range(1, 68)),
    *(f"rest {number}" for number in range(1, 109)),
    *(f"assets {number}" for number in range(1, 39)),
    *(f"connectors {number}" for number in range(1, 61)),
]
ROW = re.compile(r"^\| ([A-Za-z]+ ?\d+) \| .+ \| (covered|different|open) \| (.*) \|$", re.MULTILINE)
NAMED_TEST = re.compile(r"`([\w/.]+\.py)::(test_\w+)`")


def rows():
    """(point, state, the last cell) of each row of the table of points."""
    return ROW.findall((ROOT / "docs/compatibility.md").read_text())


@cache
def names_in(file):
    """Names of the test functions of a file under tests/."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {function.name for function in functions}


def anchors_of(page):
    """The anchors that the headings of a page have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_points_has_every_point_once():
    points = Counter(point for point, _, _ in rows())

    assert set(POINTS) - set(points) == set()
    assert [point for point, count in points.items() if count > 1] == []


def test_every_test_that_the_table_of_points_names_exists():
    named = {test for _, _, cell in rows() for test in NAMED_TEST.findall(cell)}

    assert sorted(f"{file}::{name}" for file, name in named if name not in names_in(file)) == []


def test_every_covered_point_names_a_test_and_every_other_a_reason():
    untold = [
        point
        for point, state, cell in rows()
        if (state == "covered" and not NAMED_TEST.search(cell))
        or (state != "covered" and len(NAMED_TEST.sub("", cell).strip(" ,.")) == 0)
    ]

    assert untold == []


def test_no_point_of_executions_is_open():
    assert [point for point, state, _ in rows() if point[0] in "EB" and state == "open"] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page):
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors_of(linked)):
            dead.append(target)

    assert dead == []


def test_the_tables_of_the_architecture_are_those_of_the_code():
    """`make docs` writes them."""
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))

    assert (ROOT / "docs/architecture.md").read_text() == generate["page"]()


LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
NO_FACTS = {"exc_info", "is_warning"}


def logged_events():
    """Every event that the code logs: name to the facts that come with it, from all places together."""
    found = {}
    for path in (ROOT / "tsd").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            event = isinstance(call, ast.Call) and event_of(call)
            if event:
                facts = {keyword.arg for keyword in call.keywords} - NO_FACTS
                found[event] = found.get(event, set()) | facts
    return found


def event_of(call):
    """The event that a call logs; None when it logs nothing, or what a variable says."""
    receiver, _, method = ast.unparse(call.func).rpartition(".")
    is_log = method in LEVELS and receiver.endswith(("log", "log.unfiltered()"))
    is_core = method == "log" and receiver.endswith(("out", "get_logger()"))
    if not (is_log or is_core or (method == "write" and not receiver)):
        return None
    constants = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    return constants[-1] if constants else None


def documented_events():
    """Every event of the page: name to the facts that it names, from all rows together."""
    found = {}
    text = (ROOT / "docs/log-events.md").read_text()
    for event, meaning in re.findall(r"^\| `([a-z_.]+)` \| .+? \| (.+) \|$", text, re.MULTILINE):
        found[event] = found.get(event, set()) | set(re.findall(r"`(\w+)`(?=[,)])", meaning))
    return found


def test_every_event_of_the_log_is_on_its_page_with_its_facts():
    assert documented_events() == logged_events()


def test_events_are_fixed_texts_of_two_words():
    assert [event for event in logged_events() if not re.fullmatch(r"[a-z]+\.[a-z_]+", event)] == []


def documented_metrics():
    """{metric: (type, labels)} of the tables of the page."""
    row = re.compile(r"^\| `([a-z_]+)` \| (gauge|counter|histogram) \| (.*?) ?\| .+ \|$", re.MULTILINE)
    found = row.findall((ROOT / "docs/metrics.md").read_text())
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in found}


def test_every_metric_is_on_its_page_with_its_type_and_labels():
    ours = {metric.name: (metric.kind.value, metric.labels) for metric in METRICS}
    text = Sheet(cluster_name="", url="").render().decode()
    process = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))

    documented = documented_metrics()
    assert {name: documented[name] for name in documented if name not in process} == ours
    assert process <= documented.keys()


def test_alerts_name_metrics_that_are_there():
    alerts = re.findall(r"\btsd_[a-z_]+", (ROOT / "docs/metrics.md").read_text())
    names = {metric.name for metric in METRICS}

    assert [name for name in alerts if name.removesuffix("_bucket") not in names] == []
