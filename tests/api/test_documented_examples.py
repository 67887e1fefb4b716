"""docs/api.md: each endpoint is there, and each example does what the page says, run in the order of the page."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import bundle
from tests.support.daemons import TERMINAL, cluster_for, until
from tests.support.scrape import values_of
from tsd.master.api.catalogue import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/api.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CURL = re.compile(r"^curl .*?(?=^curl |\Z)", re.MULTILINE | re.DOTALL)
VARYING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{40}\b|\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=^v)3\.\d+\.\d+$|(?<=\n\n)Traceback .*",
    re.DOTALL,
)
"""Parts of a text that differ from run to run."""
MACHINE = {"arch", "hostname", "tsd_version"}
"""Fields whose text the machine decides."""

OPERATIONS = """
from tsd.operations import FilterProcessor, operation

@operation("count")
class Count(FilterProcessor): pass

@operation("clamp")
class Clamp(FilterProcessor): pass
"""


def examples() -> list[tuple[str, str | None]]:
    """(curl command, the answer that the page shows for it) in the order of the page."""
    found: list[tuple[str, str | None]] = []
    for kind, text in BLOCK.findall(PAGE):
        if kind == "sh":
            found += [(command.strip(), None) for command in CURL.findall(text)]
        else:
            assert found[-1][1] is None, f"two answers to {found[-1][0]}"
            found[-1] = (found[-1][0], text)
    return found


def check_json(shown: Any, answered: Any, place: str) -> None:
    """All that the page shows is in the answer; numbers that are no status may differ."""
    if isinstance(shown, dict):
        assert isinstance(answered, dict), (place, answered)
        for key, value in shown.items():
            assert key in answered, f"{place} has no {key}: {answered}"
            check_json(value, answered[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert isinstance(answered, list), (place, answered)
        assert len(shown) <= len(answered), (place, answered)
        for i, value in enumerate(shown):
            check_json(value, answered[i], f"{place}[{i}]")
    elif isinstance(shown, str):
        assert isinstance(answered, str), (place, answered)
        if place.rpartition(".")[2] not in MACHINE:
            assert VARYING.sub("…", answered) == VARYING.sub("…", shown), place
    elif isinstance(shown, bool) or shown is None or place == "answer.error":
        assert answered is shown or answered == shown, place
    else:
        assert type(answered) is int, (place, answered)


def check_table(shown: str, answered: str) -> None:
    """The rows that the page shows are those of the answer, but for blanks at their ends."""
    lines = [line.split() for line in answered.splitlines()]
    assert [line.split() for line in shown.splitlines()] == lines[: len(shown.splitlines())]


def check_metrics(shown: str, answered: str) -> None:
    """Each series that the page shows is there, with those of its labels that the page shows."""
    there = values_of(answered)
    for name, *labels in values_of(shown):
        fixed = {label for label in labels if label[0] not in MACHINE}
        found = [key for key in there if key[0] == name and fixed <= {*key[1:]}]
        assert found, f"no {name} with {labels}"


class Reader:
    """Somebody who pastes the examples one after another."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._ids = {"JOB_ID": "", "EX_ID": "", "ASSET_ID": ""}

    def run(self, command: str, shown: str | None) -> None:
        """Run an example, and check its answer."""
        address = self._cluster.url.removeprefix("http://")
        script = command.replace("localhost:5678", address).replace("curl ", "curl -sS --max-time 60 ", 1)
        done = subprocess.run(
            ["bash", "-euc", script],
            env={**os.environ, **self._ids},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        if "/txt/" in command:
            check_table(shown or "", done.stdout)
            return
        if "/metrics" in command:
            check_metrics(shown or "", done.stdout)
            return
        answer = json.loads(done.stdout)
        check_json(json.loads(shown) if shown else {} if isinstance(answer, dict) else [], answer, "answer")
        if isinstance(answer, dict):
            assert shown or "error" not in answer, (command, answer)
            self._ids["ASSET_ID"] = answer.get("asset_id", self._ids["ASSET_ID"])
            self._ids["JOB_ID"] = answer.get("job_id", self._ids["JOB_ID"])
            if "job_id" in answer and "ex_id" in answer:
                self._ids["EX_ID"] = answer["ex_id"]
                self._settle(answer["ex_id"])

    def _settle(self, ex_id: str) -> None:
        """People are slower than jobs: wait until it runs, or for a `once` job until it has ended."""
        is_once = self._cluster.get(f"/ex/{ex_id}")["lifecycle"] == "once"
        self._cluster.wait_status(ex_id, *([] if is_once else ["running", "paused", *TERMINAL]))
        if not is_once and self._cluster.status(ex_id) == "running":
            until(lambda: self._cluster.processes(ex_id, "worker"), "a worker runs")


def test_the_page_has_every_endpoint_and_no_other():
    there = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}

    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /[^`]*)`", PAGE)) == there


def test_every_verb_has_an_example():
    verbs = set(
        re.findall(r"/(_[a-z]+|controllers?|errors|state|stats|health|ready|metrics|txt/[a-z]+)`", PAGE)
    )
    commands = "\n".join(command for command, _ in examples())

    assert [verb for verb in sorted(verbs) if verb not in commands] == []


@pytest.mark.slow
def test_the_examples_answer_as_the_page_says(request, tmp_path):
    with cluster_for(request, tmp_path, **{"tsd.node_id": "node-1"}) as cluster:
        cluster.start_up()
        (tmp_path / "my_bundle.zip").write_bytes(
            bundle("my_bundle", files={"ops/__init__.py": OPERATIONS}, description="counting and clamping")
        )
        reader = Reader(cluster, tmp_path)

        for command, shown in examples():
            reader.run(command, shown)
