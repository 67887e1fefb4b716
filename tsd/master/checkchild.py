"""The child that runs code of users for the master: it checks a job, or imports a bundle.

It reads a question from stdin and writes an answer to what was its stdout; what the code prints goes to
stderr. Both are JSON: a job is JSON, and nothing that a child says is ever executed. Before the answer comes
a line for each operation that is looked at, so that the master knows which one it was when none comes.

`main` answers one question and ends; `serve` answers questions, one a line, until stdin ends, and is for code
that is the same in all of them.
"""

import faulthandler
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from tsd.assets.folders import AssetFolders
from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.error_texts import error_line
from tsd.errors import AssetError, JobInvalid
from tsd.operations.bundled import OperationBundle, where
from tsd.operations.job import ValidatedJob, validate_job
from tsd.operations.listed import offers_of
from tsd.operations.qualifiers import AssetNames
from tsd.operations.registry import Registry

MEMORY_B = 4 * 1024**3
"""Of addresses. Python with tsd uses a tenth of it."""


@attrs.frozen(kw_only=True)
class Question:
    """What a child is to check.

    Attributes:
        within_s: The child is ended by the kernel when it takes longer.
        modules: `tsd.operation_modules`.
        root: Where bundles are unpacked.
    """

    within_s: int
    job: dict[str, Any]
    modules: Sequence[str]
    connections: Sequence[str]
    cpu_count: int
    ids: dict[str, str]
    faults: dict[str, str]
    built_in: dict[str, str]
    root: str

    def encode(self) -> bytes:
        """As the child reads it."""
        return json.dumps(attrs.asdict(self)).encode()


@attrs.frozen(kw_only=True)
class Inspection:
    """A bundle that a child is to import; it is unpacked in `root`."""

    within_s: int
    root: str
    asset_id: str

    def encode(self) -> bytes:
        """As the child reads it."""
        return json.dumps(attrs.asdict(self)).encode()


def decode_answer(text: bytes) -> ValidatedJob:
    """What the child has found.

    Raises:
        JobInvalid: The job is wrong.
        AssetError: A bundle does not load.
        ValueError: This is no answer; it may be anything, since the code of users can write there too.
    """
    answer = json.loads(text)
    match answer:
        case {"job": dict(job), "warnings": list(warnings), "unknown_options": list(unknown)}:
            return ValidatedJob(job=job, warnings=tuple(warnings), unknown_options=tuple(map(str, unknown)))
        case {"title": str(title), "faults": list(faults)}:
            raise JobInvalid(title, [(str(path), str(text)) for path, text in faults])
        case {"unloadable": str(reason)}:
            raise AssetError(reason)
        case {"failed": str(reason), "at": [str(path), str(name)]}:
            kind = "operation" if path.startswith("operations") else "api"
            raise JobInvalid(f"Validation failed for {kind} config: {name}", [(path, reason)])
    raise ValueError("the answer has no known form")


class _Checks:
    """Checks jobs; what comes with tsd and the modules is imported once."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._installed: tuple[Sequence[str], Registry] | None = None
        self._at = ("", "")

    def check(self, question: Question) -> dict[str, Any]:
        """The answer to a question."""
        folders = AssetFolders(Path(question.root))
        try:
            bundles = folders.read_all(dict.fromkeys(question.ids.values()))
            registry = self._registry(question.modules, bundles)
        except AssetError as error:
            return {"unloadable": str(error)}
        self._at = ("", "")
        try:
            checked = validate_job(
                question.job,
                registry=registry,
                connectors=question.connections,
                cpu_count=question.cpu_count,
                assets=AssetNames(ids=question.ids, faults=question.faults, built_in=question.built_in),
                on_check=self._on_check,
            )
        except JobInvalid as error:
            return {"title": error.title, "faults": error.faults}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - conversions and checks are code of users
            return self._blame(error, bundles)
        return attrs.asdict(checked, recurse=False)

    def _registry(self, modules: Sequence[str], bundles: Sequence[OperationBundle]) -> Registry:
        if bundles:
            return Registry(modules, bundles)
        if self._installed is None or self._installed[0] != modules:
            self._installed = (modules, Registry(modules))
        return self._installed[1]

    def _on_check(self, path: str, name: str) -> None:
        self._at = (path, name)
        self._tell({"at": self._at})

    def _blame(self, error: BaseException, bundles: Sequence[OperationBundle]) -> dict[str, Any]:
        if bundles:
            return {"unloadable": _blame(error, bundles)}
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"in {Path(frame.filename).name}, line {frame.lineno}: {frame.line or ''}"
        return {"failed": f"the check failed: {error_line(error)}, {place}", "at": self._at}


def _blame(error: BaseException, bundles: Sequence[OperationBundle]) -> str:
    for bundle in bundles:
        if place := where(error, bundle.folder):
            who = f"asset {bundle.name}:{bundle.version}"
            return f"{who} failed when the job was checked: {error_line(error)}{place}"
    return f"the code of the assets failed when the job was checked: {error_line(error)}"


def _inspect(question: Inspection) -> dict[str, Any]:
    folders = AssetFolders(Path(question.root))
    try:
        bundle = folders.read(question.asset_id)
        manifest = read_manifest((bundle.folder / FILE_NAME).read_bytes())
        return {"operations": offers_of(bundle, manifest.operations())}
    except AssetError as error:
        return {"unloadable": str(error)}


def main() -> None:
    """Answer the question on stdin."""
    asked = json.load(sys.stdin)
    question = Question(**asked) if "job" in asked else Inspection(**asked)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_B, MEMORY_B))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound(question.within_s, is_last=True)
    tell = _mouth()
    tell(_Checks(tell).check(question) if isinstance(question, Question) else _inspect(question))
    # Threads that the code has started, and what it wants to do at exit, are not waited for.
    os._exit(0)


def serve() -> None:
    """Answer the questions on stdin until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_B, MEMORY_B))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    questions = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    tell = _mouth()
    checks = _Checks(tell)
    for line in questions:
        question = Question(**json.loads(line))
        _bound(question.within_s, is_last=False)
        answer = checks.check(question)
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        tell(answer)
    os._exit(0)


def _mouth() -> Callable[[dict[str, Any]], None]:
    """A function that writes a line to what is stdout now; what is printed goes to stderr from here on."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(document: dict[str, Any]) -> None:
        stream.write(json.dumps(document).encode() + b"\n")
        stream.flush()

    return tell


def _bound(within_s: int, *, is_last: bool) -> None:
    """Have the kernel end this process if the question takes longer; a master that died ends nobody."""
    signal.alarm(within_s + 1)
    # At the hard limit it would be killed by a signal that says nothing of time.
    processor_s = within_s + math.ceil(time.process_time())
    most_s = processor_s + 1 if is_last else resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, most_s))
    # Where it crashed, or was when its time was nearly over.
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.9 * within_s)
