"""Job files of Teraslice's users run as they are."""

import json

import pytest

from tests.support.teraslice_jobs import JOBS
from tsd.assets.host import this_host
from tsd.assets.resolve import BuiltIn, resolve
from tsd.core.assets import AssetRecord
from tsd.errors import AssetError, JobInvalid
from tsd.operations.job import asset_identifiers, validate_job
from tsd.operations.job_warnings import text_of
from tsd.operations.qualifiers import AssetNames
from tsd.operations.registry import Registry
from tsd.operations.testing import JobHarness
from tsd.teraslice_bundles import BUNDLES

REGISTRY = Registry()
HOST = this_host()


def check(job):
    names = {each: resolve(each, None, (), HOST).remark for each in asset_identifiers(job)}
    return validate_job(job, registry=REGISTRY, assets=AssetNames(built_in=names))


def faults_of(job):
    with pytest.raises(JobInvalid) as info:
        check(job)
    return dict(info.value.faults)


def test_there_are_more_than_fifty_shapes():
    assert len(JOBS) > 56


@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_teraslice_is_taken_unchanged(name):
    job = json.loads(json.dumps(JOBS[name]).replace("{folder}", "/tmp"))

    checked = check(job)

    assert checked.job["assets"] in (None, [])
    names = [entry["_op"] for entry in checked.job["operations"]]
    names += [entry["_name"] for entry in checked.job["apis"]]
    assert not any("@" in each for each in names)
    said = [each for each in checked.warnings if each["reason"]["kind"] == "built-in"]
    assert [each["reason"]["reason"]["path"] for each in said] == [
        f"assets[{i}]" for i in range(len(job.get("assets") or ()))
    ]
    # Nobody is told of options that Teraslice has: only of what the job itself leaves open.
    assert {each["reason"]["kind"] for each in checked.warnings} <= {"built-in", "advice"}


def test_the_operation_loses_its_bundle_and_the_api_keeps_its_tag():
    checked = check(JOBS["read by a qualified API with a tag"])

    assert checked.job["operations"][0]["_op"] == "file_reader"
    assert checked.job["operations"][0]["_api_name"] == "file_reader_api:mine"
    assert checked.job["apis"][0]["_name"] == "file_reader_api:mine"


@pytest.mark.parametrize("identifier", ["standard", "standard:2.1.2", "file:^4", "elasticsearch", "kafka:~6"])
def test_a_public_name_stands_for_what_is_built_in(identifier):
    assert resolve(identifier, None, (), HOST) == BuiltIn()


def test_a_version_that_is_none_is_refused():
    with pytest.raises(AssetError, match=r'"standard:newest": "newest" is no version or range'):
        resolve("standard:newest", None, (), HOST)


def test_a_name_that_is_not_public_is_not_built_in():
    with pytest.raises(AssetError, match='No assets found for "standardx"'):
        resolve("standardx", None, (), HOST)


@pytest.mark.parametrize(
    ("written", "meant"), [("Standard", "standard"), ("standrad", "standard"), ("files", "file")]
)
def test_a_public_name_that_is_misspelt_is_suggested(written, meant):
    with pytest.raises(AssetError, match=f'No assets found for "{written}:1.0.0"; did you mean {meant}?'):
        resolve(f"{written}:1.0.0", None, (), HOST)


@pytest.mark.parametrize("identifier", ["standard:latest", "standard:*", "standard:>=1.0.0", "file:4"])
def test_every_form_of_a_version_is_taken(identifier):
    assert resolve(identifier, None, (), HOST) == BuiltIn()


def record(name, version, language):
    return AssetRecord(
        asset_id=(name + version + language).encode().hex().ljust(40, "0")[:40],
        name=name,
        version=version,
        description=None,
        platform=None,
        arch=None,
        node_version=None,
        python_version=None,
        language=language,
        is_compiled=False,
        size_b=1,
        manifest="{}",
    )


PYTHON = record("standard", "1.0.0", "python")
JAVASCRIPT = record("standard", "2.1.2", "javascript")


def test_a_python_bundle_of_that_name_wins_also_over_a_newer_one_in_javascript():
    assert resolve("standard", None, [JAVASCRIPT, PYTHON], HOST) == PYTHON
    assert resolve("standard:1.x", None, [PYTHON], HOST) == PYTHON


def test_a_python_bundle_of_another_version_is_not_passed_by_in_silence():
    with pytest.raises(AssetError, match=r'No assets found for "standard:\^2", there is 1.0.0'):
        resolve("standard:^2", None, [PYTHON, JAVASCRIPT], HOST)


def test_a_javascript_bundle_of_a_public_name_is_no_obstacle_by_name_or_id():
    by_name = resolve("standard", None, [JAVASCRIPT], HOST)
    by_id = resolve(JAVASCRIPT.asset_id, JAVASCRIPT, (), HOST)

    assert by_name == by_id
    assert by_name == BuiltIn("the bundle standard:2.1.2 of the cluster is JavaScript and is not used")


def test_a_javascript_bundle_of_another_name_is_one():
    with pytest.raises(AssetError, match="JavaScript, which tsd can not run"):
        resolve("mine", None, [record("mine", "1.0.0", "javascript")], HOST)


def test_what_is_missing_is_named_one_by_one():
    faults = faults_of(
        {
            "name": "x",
            "assets": ["elasticsearch", "standard"],
            "operations": [{"_op": "elasticsearch_reader"}, {"_op": "transform@standard"}, {"_op": "noop"}],
            "apis": [{"_name": "elasticsearch_sender_api:a"}],
        }
    )

    assert list(faults) == ["operations[0]._op", "operations[1]._op", "apis[0]._name"]
    assert faults["operations[0]._op"].endswith(
        "elasticsearch_reader is an operation of Teraslice's bundle elasticsearch, which tsd does not have;"
        " connectors to Elasticsearch and OpenSearch are not in tsd yet"
    )
    assert "transform is an operation of Teraslice's bundle standard" in faults["operations[1]._op"]
    assert "elasticsearch_sender_api is an operation of" in faults["apis[0]._name"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("csv_reader", "file_reader"),
        ("File_Reader", "file_reader"),
        ("filereader", "file_reader"),
        ("test_reader", "test-reader"),
    ],
)
def test_a_reader_that_is_misspelt_is_suggested(written, meant):
    faults = faults_of({"name": "x", "operations": [{"_op": written}, {"_op": "noop"}]})

    assert faults["operations[0]._op"].endswith(f"{written}; did you mean {meant}?")


@pytest.mark.parametrize(("written", "meant"), [("Filter", "filter"), ("file_expoter", "file_exporter")])
def test_a_processor_that_is_misspelt_is_suggested(written, meant):
    faults = faults_of({"name": "x", "operations": [{"_op": "test-reader"}, {"_op": written}]})

    assert faults["operations[1]._op"].endswith(f"{written}; did you mean {meant}?")


def test_an_api_in_the_place_of_an_operation_is_explained():
    faults = faults_of({"name": "x", "operations": [{"_op": "test-reader"}, {"_op": "file_sender_api"}]})

    assert faults["operations[1]._op"].endswith("file_sender_api is an API: name it in `apis`")


def test_a_bundle_without_anything_that_tsd_has_is_told_so():
    checked = check(
        {"name": "x", "assets": ["kafka"], "operations": [{"_op": "test-reader"}, {"_op": "noop"}]}
    )

    assert [text_of(each) for each in checked.warnings] == [
        'assets[0]: "kafka" is a bundle of Teraslice, of which tsd has no operations'
    ]


def test_advice_is_given_for_what_there_is_not_and_for_nothing_else():
    for operations in BUNDLES.values():
        for name, advice in operations.items():
            assert REGISTRY.is_built_in(name) != bool(advice), name


def test_a_harness_takes_such_a_job_too():
    posted = {
        "name": "x",
        "assets": ["standard"],
        "operations": [{"_op": "data_generator@standard", "size": 3}],
    }
    posted["operations"].append({"_op": "set_key@standard", "field": "ip"})

    with JobHarness(posted) as harness:
        assert sum(len(records) for _, records in harness.run_to_completion()) == 3
