"""What schemathesis needs to know beyond the OpenAPI document; loaded by tests/api/contract.toml.

The document says what a schema can say. These are the rest of the contract, each with its reason.
"""

import io
import json
import re
import zipfile
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure


def bundle_of(manifest: dict[str, Any]) -> bytes:
    """A bundle without operations."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("asset.json"), json.dumps(manifest))
    return packed.getvalue()


WINDOW = 10_000
FORM_TYPE = "application/x-www-form-urlencoded"
OPERATIONS = [{"_op": "data_generator", "size": 5}, {"_op": "delay", "ms": 200}]
"""What every job runs: leaves the machine to the requests."""
BUNDLE = bundle_of({"name": "made-up", "version": "1.0.0"})
"""What every upload carries: a schema says nothing of zips."""
REFUSALS = (
    # 500 as in Teraslice: the controller has not called yet, so it can not be told.
    "is not available to pause",
    "is not available to resume",
    # 400: no worker would be left.
    "cannot be >= to current workers",
)


@schemathesis.hook
def before_load_schema(_context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Leave the form type out: what it carries is JSON text, which nobody generates from a schema.

    `test_a_form_is_read_as_json` of tests/api/test_framing_of_answers.py sends one.
    """
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            operation.get("requestBody", {}).get("content", {}).pop(FORM_TYPE, None)


@schemathesis.hook
def filter_case(_context: HookContext, case: Case) -> bool:
    """Leave out what the document can not say: `cleanup` is not even looked at beside `cleanup_type`."""
    return not {"cleanup", "cleanup_type"} <= set(case.query or {})


@schemathesis.hook
def map_case(_context: HookContext, case: Case) -> Case:
    """Make of a request that fits its schema one that fits the rest of the contract."""
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return case
    if case.path.endswith("/_workers"):
        case.query = one_kind_of_workers(case.query or {})
    if case.query and {"from", "size"} & set(case.query):
        fit_window(case.query)
    if case.query and isinstance(case.query.get("filter"), str):
        case.query["filter"] = as_phrase(case.query["filter"])
    if case.path == "/assets" and case.operation.body:
        case.body = BUNDLE
    elif case.operation.body and isinstance(case.body, dict):
        # Which operations, APIs and bundles there are, and what they take, differs from cluster to cluster.
        case.body = {**case.body, "operations": OPERATIONS, "apis": [], "assets": []}
        case.body.pop("job_id", None)
    return case


@schemathesis.hook
def filter_failure(_context: HookContext, _failure: Failure, _case: Case, response: Response) -> bool:
    """Accept refusals that follow from what has become of an execution, not from the request."""
    return not any(words in response.text for words in REFUSALS)


def as_phrase(text: str) -> str:
    """A filter for this text; which texts are filters themselves, a schema can not say."""
    plain = re.sub(r'["\\\x00]', " ", text)[:1000]
    return f'"{plain}"'


def one_kind_of_workers(query: dict[str, Any]) -> dict[str, Any]:
    """Exactly one of `add`, `remove` and `total`."""
    kinds = [kind for kind in ("add", "remove", "total") if kind in query]
    others = {name: value for name, value in query.items() if name not in kinds}
    return others | ({kinds[0]: query[kinds[0]]} if kinds else {"add": 1})


def fit_window(query: dict[str, Any]) -> None:
    """`from` + `size` stay within what a list reaches; a blank `size` is 100."""
    size = query.get("size", "")
    if isinstance(query.get("from"), int | float):
        query["from"] = min(query["from"], WINDOW - (100 if isinstance(size, str) else int(size)))
