"""The child that checks one job whose operations are in bundles, so that their code never runs in the master.

It reads a question from stdin and writes an answer to what was its stdout; what the code prints goes to
stderr. Both are JSON: a job is JSON, and nothing that a child says is ever executed.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tsd.assets.folders import AssetFolders
from tsd.errors import AssetError, JobInvalid
from tsd.operations.job import AssetNames, ValidatedJob, validate_job
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
        bundles = [folders.read(asset_id) for asset_id in dict.fromkeys(question.ids.values())]
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
    return attrs.asdict(checked, recurse=False)


def main() -> None:
    """Answer the question on stdin."""
    question = Question(**json.load(sys.stdin))
    signal.alarm(question.within_s + 1)  # a master that dies ends nobody
    # At the hard limit it would be killed by a signal that says nothing of time.
    resource.setrlimit(resource.RLIMIT_CPU, (question.within_s, question.within_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_B, MEMORY_B))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answer:
        answer.write(json.dumps(_check(question)).encode())
    # Threads that the code has started, and what it wants to do at exit, are not waited for.
    os._exit(0)
