"""Checking jobs: job-config.md J1 to J16 and J21 to J23."""

import copy

import pytest

from tests.support.pipelines import REGISTRY
from tsd.errors import JobInvalid
from tsd.operations.job import AssetNames, validate_job

OPS = [{"_op": "test-reader"}, {"_op": "noop"}]


def validate(raw, **options):
    return validate_job(raw, registry=REGISTRY, connectors={"default", "other"}, cpu_count=16, **options)


def faults_of(raw):
    with pytest.raises(JobInvalid) as info:
        validate(raw)
    return dict(info.value.faults)


def test_a_minimal_job_gets_every_default():
    """J1."""
    job = validate({"operations": OPS}).job

    assert {name: value for name, value in job.items() if name != "operations"} == {
        "active": True,
        "analytics": True,
        "assets": None,
        "autorecover": False,
        "lifecycle": "once",
        "max_retries": 3,
        "name": "Custom Job",
        "apis": [],
        "probation_window": 300_000,
        "slicers": 1,
        "workers": 5,
        "stateful": False,
        "labels": None,
        "env_vars": {},
        "log_level": None,
        "relocatable": False,
    }
    assert job["operations"][1] == {"_op": "noop", "_encoding": "json", "_dead_letter_action": "throw"}


@pytest.mark.parametrize("operations", [[], [{"_op": "test-reader"}], "text", None, {"_op": "noop"}])
def test_fewer_than_two_operations_are_refused(operations):
    """J2, point 40."""
    assert "array with at least two operations" in faults_of({"operations": operations})["operations"]


def test_a_job_without_operations_is_refused():
    """J2."""
    assert list(faults_of({"name": "x"})) == ["operations"]


@pytest.mark.parametrize(
    ("entry", "word"), [(5, "Number"), (None, "Null"), ("noop", "String"), ([], "Array")]
)
def test_an_entry_that_is_no_object_is_named_by_its_type(entry, word):
    """J3."""
    faults = faults_of({"operations": [*OPS, entry], "apis": [entry]})

    assert f"Invalid Operation config in operations, got {word}" in faults["operations[2]"]
    assert f"Invalid API config in apis, got {word}" in faults["apis[0]"]


def test_all_faults_of_a_job_come_together_in_order():
    """J4."""
    raw = {
        "name": "",
        "workers": 0,
        "analytics": "maybe",
        "lifecycle": "forever",
        "operations": [
            {"_op": "test-reader", "passthrough_slice": 5},
            {"_op": "delay", "ms": "x"},
            {"_op": "nope"},
        ],
        "apis": [{"_name": "a"}, {"_name": "a"}, {}],
    }

    with pytest.raises(JobInvalid, match=r"^Validation failed for job config: \n") as info:
        validate(raw)

    assert [path for path, _ in info.value.faults] == [
        "analytics",
        "lifecycle",
        "name",
        "workers",
        "apis[1]._name",
        "apis[2]._name",
        "operations[0].passthrough_slice",
        "operations[1].ms",
        "operations[2]._op",
        "apis[0]._name",
        "apis[1]._name",
    ]
    assert info.value.faults[7][1].startswith(
        "Validation failed for operation config: delay - must be a positive"
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"), [("slicers", "3", 3), ("workers", 2.7, 2), ("workers", "4.7", 4)]
)
def test_counts_are_read_from_digits_and_cut_to_whole(field, value, expected):
    """J5."""
    assert validate({"operations": OPS, field: value}).job[field] == expected


@pytest.mark.parametrize(
    ("field", "value", "fragment"),
    [
        ("slicers", 0, "must be valid integer greater than zero"),
        ("workers", -1, "must be valid integer greater than zero"),
        ("workers", None, "must be valid integer greater than zero"),
        ("workers", "many", "must be valid integer greater than zero"),
        ("workers", True, "must be valid integer greater than zero"),
        ("workers", 1_000_001, "must be at most 1000000"),
        ("slicers", 1e200, "must be at most 10000"),
        ("max_retries", 1e200, "Too big: expected int to be <=9007199254740991"),
        ("max_retries", "2", "expected number, received string"),
        ("max_retries", -1, "Too small: expected number to be >=0"),
        ("probation_window", -5, "must be a positive integer or human readable string"),
        ("probation_window", 1e200, "must be a positive integer or human readable string"),
        ("probation_window", "999999999999 y", "must be a positive integer or human readable string"),
        ("probation_window", "5 parsecs", "Invalid duration unit: parsecs"),
        ("analytics", None, "expected boolean, received null"),
        ("active", "yes", "expected boolean, received string"),
        ("lifecycle", "never", 'expected one of "once"|"persistent"'),
        ("lifecycle", None, 'expected one of "once"|"persistent"'),
        ("name", "", "field is required and must be of type string"),
        ("name", 5, "field is required and must be of type string"),
        ("apis", None, "APIs is required to be an array"),
        ("env_vars", None, "must be object"),
        ("env_vars", {"": 1}, "key must be not empty"),
        ("env_vars", {"A": ""}, 'value for key "A" must be not empty'),
        ("env_vars", {"A=B": 1}, "'A=B' can not be the name of an environment variable"),
        (
            "env_vars",
            {"A": "x" * 3_000_000},
            'variable "A" has 3,000,002 bytes, and an environment variable at most',
        ),
        ("env_vars", {"A": "é" * 65_535}, 'variable "A" has 131,072 bytes'),
        ("env_vars", {f"A{i}": "x" * 50_000 for i in range(4)}, "has 200,012 bytes together"),
        ("env_vars", {"A": "\0"}, 'value for key "A" must have no null characters'),
        ("labels", ["a"], "must be object"),
        ("log_level", {}, "must be one of the following: trace,debug,info,warn,error,fatal"),
        ("log_level", "loud", "must be one of the following: trace,debug,info,warn,error,fatal"),
        ("assets", "a", "assets need to be of type array"),
        ("assets", [1], "assets needs to be an array of strings"),
    ],
)
def test_a_field_of_the_wrong_form_is_refused(field, value, fragment):
    """J5 to J8."""
    faults = faults_of({"name": "n", "operations": OPS, field: value})

    assert list(faults) == [field]
    assert fragment in faults[field]


def test_an_api_whose_name_is_no_text_is_refused():
    faults = faults_of({"name": "n", "operations": OPS, "apis": [{"_name": {}}]})

    assert faults == {"apis[0]._name": "API requires an _name"}


def test_durations_are_read():
    """J6, J23."""
    job = validate(
        {"operations": [OPS[0], {"_op": "delay", "ms": "2 seconds"}], "probation_window": "5 minutes"}
    ).job

    assert (job["probation_window"], job["operations"][1]["ms"]) == (300_000, 2000)


def test_some_fields_may_be_null():
    """J8."""
    job = validate({"operations": OPS, "assets": None, "labels": None, "log_level": None}).job

    assert (job["assets"], job["labels"], job["log_level"]) == (None, None, None)


def test_unknown_keys_survive_at_all_levels_and_are_named():
    """J9, point 43."""
    raw = {
        "operations": [{**OPS[0], "x": 1}, {**OPS[1], "y": 2}],
        "apis": [{"_name": "lines", "z": 3}],
        "w": {"deep": [1]},
        "cpu": "lots",
    }

    checked = validate(raw)

    assert (checked.job["w"], checked.job["cpu"]) == ({"deep": [1]}, "lots")
    assert [checked.job["operations"][0]["x"], checked.job["apis"][0]["z"]] == [1, 3]
    assert set(checked.unknown_options) == {"w", "cpu", "operations[0].x", "operations[1].y", "apis[0].z"}
    assert {one["reason"]["reason"]["path"] for one in checked.warnings} == set(checked.unknown_options)


def test_cpu_and_memory_can_not_be_mixed_with_resource_settings():
    """J11."""
    faults = faults_of(
        {"operations": OPS, "cpu": 1, "resources_limits_cpu": 2, "memory": 1, "resources_requests_memory": 2}
    )

    assert list(faults) == ["cpu", "memory"]
    assert "can't be mixed with resource settings of the same type" in faults["cpu"]
    assert validate({"operations": OPS, "cpu": 1, "resources_limits_memory": 2}).job["cpu"] == 1


def test_full_api_names_are_unique_and_tags_tell_instances_apart():
    """J12, point 41."""
    names = ["lines:a", "lines:b"]

    assert [
        api["_name"]
        for api in validate({"operations": OPS, "apis": [{"_name": n} for n in names]}).job["apis"]
    ] == names
    faults = faults_of({"operations": OPS, "apis": [{"_name": "lines:a"}, {"_name": "lines:a"}]})
    assert "Duplicate API configurations for lines:a found" in faults["apis[1]._name"]


def test_connections_must_be_configured():
    """J13."""
    raw = {
        "operations": [{**OPS[0], "_connection": "gone"}, {**OPS[1], "_connection": "other"}],
        "apis": [
            {"_name": "lines", "connection": "gone"},
            {"_name": "sink", "_connection": "default", "connection": "x"},
        ],
    }

    assert faults_of(raw) == {
        "operations[0]._connection": 'Operation test-reader refers to connection "gone" which is unavailable',
        "apis[0].connection": 'API lines refers to connection "gone" which is unavailable',
    }


@pytest.mark.parametrize("key", ["_api_name", "api_name"])
def test_a_linked_api_must_be_declared_with_its_tag(key):
    """J14, point 39."""

    def faults(value):
        return faults_of({"operations": [OPS[0], {**OPS[1], key: value}], "apis": [{"_name": "lines:a"}]})

    path = f"operations[1].{key}"
    assert faults("lines")[path] == "Could not find the associated api for lines"
    assert "_api_name keyword must link it to a valid api configuration" in faults(None)[path]
    assert "Invalid operation _api_name for _op: noop, could not find the hashID" in faults("lines@b")[path]
    assert validate({"operations": [OPS[0], {**OPS[1], key: "lines:a"}], "apis": [{"_name": "lines:a"}]}).job


@pytest.mark.parametrize(
    ("operations", "path", "fragment"),
    [
        (["noop", "noop"], "operations[0]._op", "Failure loading slicer from module: noop"),
        (
            ["test-reader", "test-reader"],
            "operations[1]._op",
            "Failure loading processor from module: test-reader",
        ),
        (["test-reader", "nope"], "operations[1]._op", "Unable to find module for operation: nope"),
        (["nope", "noop"], "operations[0]._op", "Unable to find module for operation: nope"),
        (["test-reader", "_noop"], "operations[1]._op", "private or otherwise restricted"),
        (["test-reader", ".noop"], "operations[1]._op", "private or otherwise restricted"),
        (
            ["test-reader", "noop@std"],
            "operations[1]._op",
            "Invalid operation name for _op: noop@std, could not find the hashID for asset identifier std",
        ),
    ],
)
def test_an_operation_must_exist_and_stand_in_its_place(operations, path, fragment):
    """J15, points 40 and 41."""
    faults = faults_of({"operations": [{"_op": name} for name in operations]})

    assert list(faults) == [path]
    assert fragment in faults[path]


def test_one_unknown_operation_is_told_in_one_line():
    with pytest.raises(JobInvalid) as info:
        validate({"operations": [OPS[0], {"_op": "nope"}]})

    assert str(info.value) == (
        "Validation failed for operation config: nope: "
        "operations[1]._op: Unable to find module for operation: nope"
    )


@pytest.mark.parametrize("entry", [{}, {"_op": None}, {"_op": ""}, {"_op": 5}])
def test_an_operation_needs_a_name(entry):
    assert list(faults_of({"operations": [OPS[0], entry]})) == ["operations[1]._op"]


def test_an_unknown_api_is_refused():
    faults = faults_of({"operations": OPS, "apis": [{"_name": "nope:a"}, {"_name": "lines@x"}]})

    assert "Unable to find module for operation: nope:a" in faults["apis[0]._name"]
    assert "Invalid api name for _name: lines@x" in faults["apis[1]._name"]


def test_assets_that_are_not_found_are_faults():
    """J16; point 26."""
    faults = faults_of({"operations": OPS, "assets": ["standard", "file:1.0", "standard"]})

    assert faults == {
        "assets[0]": 'No assets found for "standard"',
        "assets[1]": 'No assets found for "file:1.0"',
    }


IDS = {"ex": "a" * 40, "ex:1.x": "a" * 40, "other:1.0.0": "b" * 40}


def with_assets(raw, **options):
    return validate({"assets": list(IDS), **raw}, assets=AssetNames(ids=IDS, **options))


def test_the_execution_has_the_ids_of_bundles_once_each_in_order():
    """Point 22 of bundles."""
    raw = {"operations": OPS, "assets": ["other:1.0.0", "ex", "ex:1.x"]}
    job = validate(raw, assets=AssetNames(ids=IDS)).job

    assert job["assets"] == ["b" * 40, "a" * 40]
    assert raw["assets"] == ["other:1.0.0", "ex", "ex:1.x"]


def test_every_bundle_that_is_not_found_is_told_in_its_own_words():
    with pytest.raises(JobInvalid) as info:
        with_assets({"operations": OPS, "assets": ["zz", "ex", "yy"]}, faults={"yy": "it is JavaScript"})

    assert dict(info.value.faults) == {
        "assets[0]": 'No assets found for "zz"',
        "assets[2]": "it is JavaScript",
    }


@pytest.mark.parametrize("name", ["noop@zz", "noop@ex:2", f"noop@{'a' * 40}", "noop@"])
def test_a_qualifier_must_be_one_of_the_assets_of_the_job(name):
    """Point 24 of bundles."""
    with pytest.raises(JobInvalid) as info:
        with_assets({"operations": [OPS[0], {"_op": name}]})

    assert dict(info.value.faults) == {
        "operations[1]._op": f"Invalid operation name for _op: {name}, could not find the hashID for asset"
        f" identifier {name.partition('@')[2]}; behind the @ stands an entry of `assets`, as {', '.join(IDS)}"
    }


def test_the_qualifier_of_an_api_may_be_followed_by_a_tag():
    with pytest.raises(JobInvalid) as info:
        with_assets(
            {
                "operations": [OPS[0], OPS[1] | {"_api_name": "lines@other:1.0.0:tag"}],
                "apis": [
                    {"_name": "lines@other:1.0.0:tag"},
                    {"_name": "lines@ex"},
                    {"_name": "lines@ex:1.x"},
                ],
            }
        )

    # No such bundle is in the registry here; both names of the last one mean the same.
    assert dict(info.value.faults) == {
        "apis[2]._name": f"Duplicate API configurations for lines@{'a' * 40} found",
    } | {
        f"apis[{i}]._name": f"Validation failed for api config: {name} - Unable to find module for operation: {name}"
        for i, name in enumerate([f"lines@{'b' * 40}:tag", f"lines@{'a' * 40}"])
    } | dict(info.value.faults)


def test_a_dead_letter_action_must_be_a_word_or_a_declared_api():
    """Point 46; J21 says any string passes, which shows a typo only when a record is rejected."""
    faults = faults_of(
        {"operations": [OPS[0], {**OPS[1], "_dead_letter_action": "snik"}], "apis": [{"_name": "sink"}]}
    )

    assert list(faults) == ["operations[1]._dead_letter_action"]
    raw = {"operations": [OPS[0], {**OPS[1], "_dead_letter_action": "sink"}], "apis": [{"_name": "sink"}]}
    assert validate(raw).job["operations"][1]["_dead_letter_action"] == "sink"


def test_rules_across_operations_come_last():
    """J22: they see the defaults of all."""
    op = {"_op": "cross_check"}

    assert faults_of({"operations": [OPS[0], op]}) == {"operations[1].wanted": "the first has encoding json"}
    assert list(faults_of({"operations": [OPS[0], op, {"_op": "delay", "ms": "x"}]})) == ["operations[2].ms"]


def test_the_posted_document_is_never_changed():
    """Point 49."""
    raw = {
        "operations": [{"_op": "test-reader"}, {"_op": "delay", "ms": "1 second"}],
        "apis": [{"_name": "lines"}],
        "env_vars": {"A": "b"},
    }
    before = copy.deepcopy(raw)

    job = validate(raw).job
    job["env_vars"]["A"] = "changed"
    job["operations"][0]["x"] = 1

    assert raw == before


def test_a_validated_job_validates_to_itself():
    job = validate(
        {"operations": [{"_op": "data_generator", "size": 5}, {"_op": "delay", "ms": "1 second"}]}
    ).job

    assert validate(job).job == job


@pytest.mark.parametrize("key", ["targets", "volumes", "image", "resources_requests_cpu", "kubernetes_image"])
def test_fields_for_kubernetes_are_kept_as_they_are(key):
    """J10: tsd's own nodes run the processes, so nothing looks at them."""
    assert validate({"operations": OPS, key: [{"odd": 1}]}).job[key] == [{"odd": 1}]


def test_a_missing_option_is_told_with_the_misspelt_one_that_stands_there():
    operations = [{"_op": "file_reader", "pth": "/x", "format": "ldjson"}, {"_op": "script", "comand": "cat"}]
    faults = faults_of({"operations": operations})

    assert faults["operations[0].path"].endswith("; operations[0].pth is no option, did you mean path?")
    assert faults["operations[1].command"].endswith(
        "; operations[1].comand is no option, did you mean command?"
    )
    assert faults_of({"operations": [operations[0], {"_op": "script", "zzz": 1}]})[
        "operations[1].command"
    ].endswith("This field is required")
