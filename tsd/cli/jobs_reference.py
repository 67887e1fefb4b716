"""The generated tables of docs/jobs.md and docs/migrating.md: fields of jobs, and operations of Teraslice."""

import json
from collections.abc import Mapping
from typing import Any

from tsd.cli.ops import schema_of_jobs
from tsd.operations.job_fields import MOST_WORKERS_BY_DEFAULT, fields_of
from tsd.operations.registry import Registry
from tsd.teraslice_bundles import BUNDLES

JOBS_PAGE = "docs/jobs.md"
MIGRATING_PAGE = "docs/migrating.md"
_BEGIN = "<!-- `make docs` writes this table: begin {name} -->\n"
_END = "<!-- end {name} -->"
_WORDS: Mapping[str, str] = {
    "operations": "list of objects, two or more",
    "apis": "list of objects",
    "assets": "list of texts, or null",
    "labels": "object, or null",
    "env_vars": "object",
    "log_level": "`trace`, `debug`, `info`, `warn`, `error` or `fatal`, or null",
    "lifecycle": "`once` or `persistent`",
    "probation_window": "milliseconds, or text such as `5 minutes`",
    "max_retries": "whole number from 0",
    "name": "text",
}


def with_fields(page: str) -> str:
    """docs/jobs.md with its table of fields written anew."""
    return _with(page, "fields", _fields_table())


def with_bundles(page: str) -> str:
    """docs/migrating.md with its tables of operations written anew."""
    for bundle in BUNDLES:
        page = _with(page, bundle, _bundle_table(bundle))
    return page


def _with(page: str, name: str, table: str) -> str:
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    before, marker, rest = page.partition(begin)
    _, end_marker, after = rest.partition(end)
    if not marker or not end_marker:
        raise ValueError(f"the page has no place for the table {name}")
    return f"{before}{begin}{table}{end}{after}"


def _fields_table() -> str:
    schema = json.loads(schema_of_jobs(Registry().definitions()))["properties"]
    rows = ["| field | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, (default, _) in fields_of(cpu_count=1).items():
        entry = schema.get(name, {})
        cells = (f"`{name}`", _takes(name, entry), _default(name, default), entry.get("description", ""))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _takes(name: str, schema: Mapping[str, Any]) -> str:
    return _WORDS.get(name) or str(schema.get("title") or schema.get("type") or "")


def _default(name: str, default: object) -> str:
    if name == "operations":
        return "required"
    if name == "workers":
        return f"the processors of the master's host, at most {MOST_WORKERS_BY_DEFAULT}"
    return f"`{json.dumps(default)}`"


def _bundle_table(bundle: str) -> str:
    registry = Registry()
    rows = ["| in Teraslice | in tsd |", "| --- | --- |"]
    for name, advice in BUNDLES[bundle].items():
        link = f"[`{name}`](operations.md#{name})"
        rows.append(f"| `{name}` | {link if registry.is_built_in(name) else f'no: {advice}'} |")
    return "\n".join(rows) + "\n"
