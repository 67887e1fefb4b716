"""What holds for every operation that comes with tsd: connectors.md point 60."""

import json
from pathlib import Path

import pytest

from tests.support.pipelines import REGISTRY
from tsd.errors import JobInvalid
from tsd.operations.base import Kind
from tsd.operations.config import options_of
from tsd.operations.job import validate_job
from tsd.operations.registry import Registry

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "operations"
OPERATIONS = [d for d in Registry().definitions() if d.kind in (Kind.READER, Kind.PROCESSOR)]
NEEDY = [(d, o.name) for d in OPERATIONS for o in options_of(d.config) if o.is_required and o.name != "_op"]


@pytest.mark.parametrize(("definition", "option"), NEEDY, ids=lambda value: getattr(value, "name", value))
def test_a_missing_option_names_operation_and_option(definition, option):
    place = 0 if definition.kind is Kind.READER else 1
    operations = [{"_op": "test-reader"}, {"_op": "noop"}]
    operations[place] = {"_op": definition.name}
    with pytest.raises(JobInvalid) as info:
        validate_job({"name": "x", "operations": operations}, registry=REGISTRY)
    assert definition.name in info.value.title
    assert f"operations[{place}].{option}" in [path for path, _ in info.value.faults]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_an_option_that_nobody_knows_is_kept_and_named(path):
    job = json.loads(path.read_text())
    for entry in job["operations"]:
        entry["no_such_option"] = 1
    checked = validate_job(job, registry=REGISTRY)
    paths = [f"operations[{index}].no_such_option" for index in range(len(job["operations"]))]
    assert set(paths) <= set(checked.unknown_options)
    assert all(entry["no_such_option"] == 1 for entry in checked.job["operations"])
