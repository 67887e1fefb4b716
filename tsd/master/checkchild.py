"""The child that runs code of bundles for the master: it checks one job, or imports one bundle.

It reads a question from stdin and writes an answer to what was its stdout; what the code prints goes to
stderr. Both are JSON: a job is JSON, and nothing that a child says is ever executed.
"""

import faulthandler
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tsd.assets.folders import AssetFolders
from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.errors import AssetError, JobInvalid
from tsd.operations.bundled import OperationBundle, where
from tsd.operations.job import AssetNames, ValidatedJob, validate_job
from tsd.operations.listed import offers_of
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
    raise ValueError("the answer has no known form")


def _check(question: Question) -> dict[str, Any]:
    folders = AssetFolders(Path(question.root))
    try:
        bundles = folders.read_all(dict.fromkeys(question.ids.values()))
        registry = Registry(question.modules, bundles)
    except AssetError as error:
        return {"unloadable": str(error)}
    try:
        checked = validate_job(
            question.job,
            registry=registry,
            connectors=question.connections,
            cpu_count=question.cpu_count,
            assets=AssetNames(ids=question.ids, faults=question.faults),
        )
    except JobInvalid as error:
        return {"title": error.title, "faults": error.faults}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - conversions and checks are code of users
        return {"unloadable": _blame(error, bundles)}
    return attrs.asdict(checked, recurse=False)


def _blame(error: BaseException, bundles: Sequence[OperationBundle]) -> str:
    for bundle in bundles:
        if place := where(error, bundle.folder):
            return f"asset {bundle.name}:{bundle.version} failed when the job was checked: {error!r}{place}"
    return f"the code of the assets failed when the job was checked: {error!r}"


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
    signal.alarm(question.within_s + 1)  # a master that dies ends nobody
    # At the hard limit it would be killed by a signal that says nothing of time.
    processor_s = question.within_s + math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_B, MEMORY_B))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where it crashed, or was when its time was nearly over.
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.9 * question.within_s)
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answer:
        found = _check(question) if isinstance(question, Question) else _inspect(question)
        answer.write(json.dumps(found).encode())
    # Threads that the code has started, and what it wants to do at exit, are not waited for.
    os._exit(0)
