"""What is said about a job that can run: misspelt options, and what operations say of themselves."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import attrs
import pytest
from jsonschema import Draft202012Validator

from tests.support.pipelines import REGISTRY
from tsd.cli.ops import schema_of_jobs
from tsd.errors import JobInvalid
from tsd.operations import BatchProcessor, OpConfig, operation, opt
from tsd.operations.job import WARNINGS_MAX, validate_job
from tsd.operations.job_fields import REMARK_PATTERN, is_remark
from tsd.operations.job_warnings import text_of
from tsd.operations.qualifiers import AssetNames
from tsd.operations.registry import Registry

READER = {"_op": "test-reader"}


def warnings_of(*operations, registry=REGISTRY, **fields):
    raw = {"name": "x", "operations": [READER, *operations], **fields}
    return validate_job(raw, registry=registry).warnings


def texts_of(*operations, **options):
    return [text_of(one) for one in warnings_of(*operations, **options)]


def test_a_misspelt_option_is_told_with_its_place_and_the_name_that_was_meant():
    writer = {"_op": "file_exporter", "path": "/tmp/x", "format": "ldjson", "compresion": "gzip"}

    (warning,) = warnings_of(writer)

    assert warning == {
        "type": "JobValidation",
        "reason": {
            "type": "assetOperation",
            "kind": "unknown-option",
            "reason": {
                "field": "compresion",
                "description": "operations[1].compresion is no option of file_exporter;"
                " did you mean compression?",
                "_op": "file_exporter",
                "path": "operations[1].compresion",
            },
        },
    }


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("partition-by", "partition_by"),
        ("Path", "path"),
        ("header", "include_header"),
        ("includeHeader", "include_header"),
        ("_conection", "_connection"),
        ("dead_letter_action", "_dead_letter_action"),
    ],
)
def test_hyphens_case_and_missing_parts_are_seen_through(given, meant):
    writer = {"_op": "file_exporter", "path": "/tmp/x", "format": "ldjson", given: "x"}

    (text,) = texts_of(writer)

    assert text == f"operations[1].{given} is no option of file_exporter; did you mean {meant}?"


@pytest.mark.parametrize(
    ("given", "meant"), [("worker", "workers"), ("lifecyle", "lifecycle"), ("maxRetries", "max_retries")]
)
def test_a_misspelt_setting_of_the_job_is_told(given, meant):
    assert texts_of({"_op": "noop"}, **{given: 1}) == [
        f"{given} is no setting of a job; did you mean {meant}?"
    ]


def test_an_option_that_resembles_none_is_told_without_a_guess():
    assert texts_of({"_op": "noop", "zzz": 1}) == ["operations[1].zzz is no option of noop"]


def test_the_size_that_the_generator_reads_from_the_last_operation_is_no_mistake():
    generator, last = {"_op": "data_generator"}, {"_op": "noop", "size": 10}

    assert texts_of(last, operations=[generator, last]) == []
    assert texts_of(last, operations=[generator, last, {"_op": "noop"}]) == [
        "operations[1].size is no option of noop"
    ]
    assert texts_of(last) == ["operations[1].size is no option of noop"]
    assert EDITOR.is_valid({"operations": [generator, last]})


def test_a_misspelt_option_of_an_api_is_told():
    api = {"_name": "file_sender_api:out", "path": "/tmp/x", "format": "ldjson", "extention": "log"}

    (warning,) = warnings_of({"_op": "noop"}, apis=[api])

    assert warning["reason"]["type"] == "assetAPIProperty"
    assert warning["reason"]["reason"]["api_name"] == "file_sender_api:out"
    assert text_of(warning) == (
        "apis[0].extention is no option of file_sender_api:out; did you mean extension?"
    )


def test_settings_of_kubernetes_are_said_to_do_nothing():
    assert texts_of({"_op": "noop"}, targets=[]) == [
        "targets is a setting of Teraslice on Kubernetes and does nothing here"
    ]


def test_notes_and_what_the_store_adds_are_no_mistakes():
    kept = {"_created": "x", "_context": "job", "__metadata": {}, "$schema": "x", "_comment": "x"}

    assert texts_of({"_op": "noop", "_comment": "x", "//": "y"}, **kept) == []


def test_a_table_without_names_of_columns_is_warned_about():
    writer = {"_op": "file_exporter", "path": "/tmp/x", "format": "csv"}

    (warning,) = warnings_of(writer)

    assert warning["reason"]["kind"] == "advice"
    assert warning["reason"]["reason"]["path"] == "operations[1].fields"
    assert warnings_of(writer | {"fields": ["a"]}) == warnings_of(writer | {"format": "ldjson"}) == ()


def test_a_writer_leaves_the_word_on_columns_to_its_api():
    api = {"_name": "file_sender_api", "path": "/tmp/x", "format": "tsv"}
    writer = {"_op": "file_exporter", "_api_name": "file_sender_api"}

    (warning,) = warnings_of(writer, apis=[api])

    assert warning["reason"]["reason"]["path"] == "apis[0].fields"


# --- operations of users --------------------------------------------------------------------------


@attrs.define(kw_only=True)
class CarefulConfig(OpConfig):
    """Says what it thinks."""

    level: int = opt(0, doc="how much")

    def warnings(self, job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if self.level > job["workers"]:
            yield "level", "is more than there are workers"
        if self.level > 100:
            yield "", "is heavy"


@attrs.define(kw_only=True)
class OpenConfig(OpConfig):
    """Reads whatever it is given."""

    keeps_unknown: ClassVar[bool] = True


@operation("careful", config=CarefulConfig)
class Careful(BatchProcessor):
    def on_batch(self, records):
        return records


@operation("open", config=OpenConfig)
class Open(BatchProcessor):
    def on_batch(self, records):
        return records


MINE = Registry([__name__])


def test_a_config_can_warn_with_the_whole_job_in_sight():
    assert texts_of({"_op": "careful", "level": 3}, registry=MINE, workers=3) == []
    assert texts_of({"_op": "careful", "level": 101}, registry=MINE, workers=3) == [
        "operations[1].level: is more than there are workers",
        "operations[1]: is heavy",
    ]


def test_a_config_that_reads_all_options_has_no_unknown_ones():
    checked = validate_job(
        {"name": "x", "operations": [READER, {"_op": "open", "whatever": 1}]}, registry=MINE
    )

    assert (checked.warnings, checked.unknown_options) == ((), ("operations[1].whatever",))


@attrs.define(kw_only=True)
class NamesakeConfig(OpConfig):
    """Has an option with the name of the hook."""

    warnings: bool = opt(False, doc="whether to warn")


@operation("namesake", config=NamesakeConfig)
class Namesake(BatchProcessor):
    def on_batch(self, records):
        return records


def test_an_option_may_have_the_name_of_the_hook():
    assert texts_of({"_op": "namesake", "warnings": True}, registry=Registry([__name__])) == []


# --- bounds ---------------------------------------------------------------------------------------


def test_a_flood_of_unknown_options_is_told_in_part_and_quickly():
    flood = {f"optoin_{number}": 1 for number in range(50_000)} | {"x" * 1_000_000: 1}

    found = warnings_of({"_op": "noop"}, **flood)

    assert len(found) == WARNINGS_MAX
    assert text_of(found[-1]).endswith("; there are more such options")
    assert max(len(text_of(each)) for each in found) < 400


def test_a_flood_of_unknown_operations_is_refused_with_every_one():
    names = [f"nop_{number}" for number in range(5_000)]

    with pytest.raises(JobInvalid) as info:
        validate_job(
            {"name": "x", "operations": [READER, *({"_op": each} for each in names)]}, registry=REGISTRY
        )

    assert len(info.value.faults) == len(names)


# --- values in messages ---------------------------------------------------------------------------


def faults_of(**fields):
    with pytest.raises(JobInvalid) as info:
        validate_job({"name": "x", "operations": [READER, {"_op": "noop"}], **fields}, registry=REGISTRY)
    return info.value


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "null"), (True, "true"), (5, "5"), ([1, None], "[1, null]"), ({}, "{}")]
)
def test_values_in_messages_are_json(value, shown):
    assert faults_of(name=value).title == f"Validation failed for job config: {shown}"
    error = faults_of(operations=[READER, {"_op": value}])
    assert error.title == f"Validation failed for operation config: {shown}"
    error = faults_of(operations=[READER, {"_op": "noop", "_connection": value or "gone"}])
    assert "None" not in str(error)
    assert "True" not in str(error)


def test_what_is_not_there_is_undefined_as_in_teraslice():
    assert faults_of(operations=[READER, {}]).title == "Validation failed for operation config: undefined"


def test_a_dead_letter_action_that_is_misspelt_is_suggested():
    error = faults_of(operations=[READER, {"_op": "noop", "_dead_letter_action": "trow"}])

    assert str(error).endswith(
        '"trow" is none of throw, log, none, store, and no API of the job has this name; did you mean throw?'
    )


def test_an_unknown_key_in_an_object_of_an_option_is_told():
    rule = {"feild": "a", "value": 1}

    assert texts_of(
        {"_op": "filter", "field": "a", "value": 2, "exception_rules": [rule | {"field": "a"}]}
    ) == ["operations[1].exception_rules[0].feild is no option of filter; did you mean field?"]


# --- the schema for editors -----------------------------------------------------------------------

EDITOR = Draft202012Validator(json.loads(schema_of_jobs(MINE.definitions())))


def marked(*operations, **fields):
    raw = {"name": "x", "operations": [READER, *operations], **fields}
    return [error.message for error in EDITOR.iter_errors(raw)]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ({"_op": "noop", "lvl": 1}, {}),
        ({"_op": "careful", "lvl": 1}, {}),
        ({"_op": "noop"}, {"worker": 3}),
        ({"_op": "noop"}, {"apis": [{"_name": "file_sender_api:a", "pth": "/tmp"}]}),
    ],
)
def test_an_editor_marks_what_is_misspelt(operation, fields):
    assert any("does not match any of the regexes" in message for message in marked(operation, **fields))


def test_an_editor_marks_nothing_that_is_kept_on_purpose():
    assert marked({"_op": "open", "whatever": 1}) == []
    assert (
        marked({"_op": "noop", "_comment": "x", "api_name": "y"}, __metadata={}, targets=[], ex_id="x") == []
    )
    assert marked({"_op": "of_a_bundle", "whatever": 1}, assets=["mine"]) == []


@pytest.mark.parametrize(
    "name", ["$schema", "__x", "#", "//", "comment", "_comment", "description", "_op", "descriptions", "x"]
)
def test_the_pattern_of_remarks_is_what_the_check_takes(name):
    assert is_remark(name) == bool(re.search(REMARK_PATTERN, name))


def test_an_operation_of_a_bundle_is_named_as_the_job_names_it():
    ids = {"ours:1.x": "a" * 40}
    found = Registry([__name__]).processor("careful")

    class OfBundle(Registry):
        def processor(self, name, *, has_hint=True):
            return found if name == f"careful@{'a' * 40}" else super().processor(name, has_hint=has_hint)

    job = {
        "name": "x",
        "assets": ["ours:1.x"],
        "operations": [READER, {"_op": "careful@ours:1.x", "levl": 1}],
    }
    (warning,) = validate_job(job, registry=OfBundle(), assets=AssetNames(ids=ids)).warnings

    assert warning["reason"]["reason"]["_op"] == "careful@ours:1.x"
    assert text_of(warning) == "operations[1].levl is no option of careful@ours:1.x; did you mean level?"
