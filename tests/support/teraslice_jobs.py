"""Jobs in the shapes in which the public pages, examples and tests of Teraslice show them.

Each names the bundles that its operations are in, as it has to in Teraslice, and uses only operations that tsd
has. `{folder}` is a folder of the test.
"""

from typing import Any

Job = dict[str, Any]


def job(*operations: Job | str, assets: Any = ("standard",), apis: Any = None, **fields: Any) -> Job:
    """A job file; an operation without options is its name."""
    document: Job = {"name": "testing", "workers": 1, "slicers": 1, "lifecycle": "once"}
    if assets is not None:
        document["assets"] = list(assets)
    if apis is not None:
        document["apis"] = apis
    listed = [{"_op": each} if isinstance(each, str) else each for each in operations]
    return document | fields | {"operations": listed}


def steps(*processors: Job | str, **fields: Any) -> Job:
    """The processors behind the reader that test jobs have."""
    return job("test-reader", *processors, **fields)


GENERATOR: Job = {"_op": "data_generator", "size": 100}
FILES: Job = {"path": "{folder}/out", "format": "ldjson"}
SENDER: Job = {"_name": "file_sender_api", **FILES, "file_per_slice": False}

JOBS: dict[str, Job] = {
    # --- the pages of the generator ---
    "generate": job(GENERATOR, "noop"),
    "generate a range": job(
        {
            "_op": "data_generator",
            "size": 10,
            "start": "2015-08-01",
            "end": "2015-12-30",
            "format": "isoBetween",
        },
        "noop",
    ),
    "generate for ever": job({"_op": "data_generator", "size": 5000}, "noop", lifecycle="persistent"),
    "generate with ids": job(
        {"_op": "data_generator", "size": 10, "set_id": "hexadecimal", "id_start_key": "a"}, "noop"
    ),
    "generate under stress": job({"_op": "data_generator", "size": 10, "stress_test": True}, "noop"),
    "a sample file with empty texts": job(
        {
            "_op": "data_generator",
            "json_schema": None,
            "size": 1000,
            "start": "",
            "end": "",
            "format": "",
            "stress_test": False,
            "date_key": "created",
            "set_id": "",
        },
        {"_op": "noop"},
        max_retries=0,
        analytics=False,
        probation_window=30000,
    ),
    "a generator qualified": job({"_op": "data_generator@standard", "size": 10}, "noop"),
    "a generator of a version": job(
        {"_op": "data_generator@standard:2.1.2", "size": 10}, "noop", assets=["standard:2.1.2"]
    ),
    "a generator qualified by the name alone": job(
        {"_op": "data_generator@standard", "size": 10}, "noop", assets=None
    ),
    "scaled in end to end tests": job(
        {"_op": "data_generator", "size": 1000, "stress_test": True},
        {"_op": "delay", "ms": 1},
        lifecycle="persistent",
        workers=3,
        name="generator",
    ),
    # --- the ways to name a bundle ---
    "a bundle with a caret": job(GENERATOR, "noop", assets=["standard:^2.0.0"]),
    "a bundle with a tilde": job(GENERATOR, "noop", assets=["standard:~1.4"]),
    "a bundle with an x": job(GENERATOR, "noop", assets=["standard:1.x"]),
    "a bundle of an exact version": job(GENERATOR, "noop", assets=["standard:1.0.3"]),
    "many bundles": job(GENERATOR, "noop", assets=["elasticsearch", "kafka", "standard", "file"]),
    "a bundle by the name of its repository": job(GENERATOR, "noop", assets=["standard-assets"]),
    "no bundles": job(GENERATOR, "noop", assets=[]),
    "null for bundles": job(GENERATOR, "noop", assets=None) | {"assets": None},
    # --- files ---
    "read files": job(
        {"_op": "file_reader", "path": "{folder}/in", "format": "ldjson", "size": 100000},
        "noop",
        assets=["file"],
        workers=10,
    ),
    "read csv": job(
        {
            "_op": "file_reader",
            "path": "{folder}/in",
            "format": "csv",
            "fields": ["one", "two", "three"],
            "extra_args": {"delimiter": "|"},
        },
        "noop",
        assets=["file"],
    ),
    "read by an API": job(
        {"_op": "file_reader", "_api_name": "file_reader_api"},
        "noop",
        assets=["file"],
        apis=[{"_name": "file_reader_api", "path": "{folder}/in", "format": "ldjson", "size": 1000}],
    ),
    "read by a qualified API": job(
        {"_op": "file_reader@file", "_api_name": "file_reader_api@file"},
        "noop",
        assets=["file"],
        apis=[{"_name": "file_reader_api@file", "path": "{folder}/in", "format": "ldjson"}],
    ),
    "read by a qualified API with a tag": job(
        {"_op": "file_reader@file:4.3.0", "_api_name": "file_reader_api@file:4.3.0:mine"},
        "noop",
        assets=["file:4.3.0"],
        apis=[{"_name": "file_reader_api@file:4.3.0:mine", "path": "{folder}/in", "format": "raw"}],
    ),
    "write lines": job(GENERATOR, {"_op": "file_exporter", **FILES}, assets=["file", "standard"]),
    "write one field of each record": job(
        GENERATOR,
        {"_op": "file_exporter", **FILES, "fields": ["name"], "line_delimiter": "\n"},
        assets=["file", "standard"],
    ),
    "write csv with a header": job(
        GENERATOR,
        {
            "_op": "file_exporter",
            "path": "{folder}/out",
            "format": "csv",
            "include_header": True,
            "file_per_slice": True,
            "fields": ["ip", "url"],
        },
        assets=["file", "standard"],
    ),
    "write tsv": job(
        GENERATOR,
        {"_op": "file_exporter", "path": "{folder}/out", "format": "tsv", "concurrency": 5},
        assets=["file", "standard"],
    ),
    "write compressed": job(
        GENERATOR,
        {"_op": "file_exporter", **FILES, "compression": "gzip", "file_per_slice": True},
        assets=["file", "standard"],
    ),
    "write by an API": job(
        GENERATOR,
        {"_op": "file_exporter", "_api_name": "file_sender_api"},
        assets=["file", "standard"],
        apis=[SENDER],
    ),
    "write by a tagged API": job(
        GENERATOR,
        {"_op": "file_exporter", "_api_name": "file_sender_api:copy"},
        assets=["file", "standard"],
        apis=[SENDER | {"_name": "file_sender_api:copy"}],
    ),
    # --- routes ---
    "route by month": job(
        GENERATOR,
        {"_op": "date_router", "field": "created", "resolution": "monthly"},
        {"_op": "routed_sender", "routing": {"**": "default"}, "_api_name": "file_sender_api"},
        assets=["standard", "file"],
        apis=[SENDER],
    ),
    "route by day with units": job(
        GENERATOR,
        {
            "_op": "date_router",
            "field": "created",
            "resolution": "daily",
            "date_delimiter": "/",
            "date_unit_delimiter": "_",
            "include_date_units": True,
        },
        {"_op": "routed_sender", "routing": {"**": "default"}, "_api_name": "file_sender_api"},
        assets=["standard", "file"],
        apis=[SENDER],
    ),
    "a pipeline of end to end tests": job(
        GENERATOR,
        {"_op": "add_key", "key_name": "_key", "key_fields": ["ip"]},
        {"_op": "drop_field", "field": "ipv6"},
        {"_op": "key_router", "from": "beginning", "use": 1},
        {"_op": "routed_sender", "routing": {"**": "default"}, "_api_name": "file_sender_api"},
        assets=["standard", "file"],
        apis=[SENDER],
    ),
    "route by fields": steps({"_op": "field_router", "fields": ["name", "age"]}, "debug_routes"),
    "route by hash": steps({"_op": "hash_router", "fields": ["name"], "partitions": 10}, "debug_routes"),
    "route by the end of the key": steps({"_op": "key_router", "use": 2, "from": "end"}),
    # --- keys and ids ---
    "add a key": steps("add_key"),
    "add a key of fields": steps(
        {
            "_op": "add_key",
            "key_name": "id",
            "key_fields": ["name", "age"],
            "hash_algorithm": "sha256",
            "minimum_field_count": 1,
            "preserve_original_key": True,
        }
    ),
    "add a short id": steps({"_op": "add_short_id", "field": "id", "length": 8, "dictionary": "alphanum"}),
    "set a key": steps({"_op": "set_key", "field": "name"}),
    "remove a key": steps("remove_key"),
    "copy metadata": steps({"_op": "copy_metadata_field", "destination": "key", "meta_key": "_key"}),
    # --- fields ---
    "copy a field": steps({"_op": "copy_field", "source": "name", "destination": "copy"}),
    "set a field": steps({"_op": "set_field", "field": "type", "value": "x", "overwrite": True}),
    "set a field if": steps(
        {
            "_op": "set_field_conditional",
            "conditional_field": "type",
            "conditional_values": ["a", "b"],
            "set_field": "count",
            "value": 20,
        }
    ),
    "drop a field": steps({"_op": "drop_field", "field": "name"}),
    "drop a field if it matches": steps(
        {"_op": "drop_field_conditional", "field": "name", "regex": "/^A.*/i"}
    ),
    "drop a field if it is valid": steps(
        {"_op": "drop_field_conditional", "field": "ip", "validation_method": "isIP", "invert": True}
    ),
    "drop empty fields": steps("remove_empty_fields"),
    "parse JSON": steps({"_op": "json_parser", "_dead_letter_action": "log"}),
    # --- filters ---
    "filter by a value": steps({"_op": "filter", "field": "name", "value": "Ada"}),
    "filter by values": steps({"_op": "filter", "field": "name", "value": ["Ada", "Bo"], "invert": True}),
    "filter by an expression": steps(
        {"_op": "filter", "field": "name", "value": "/^A/", "filter_by": "regex"}
    ),
    "filter by addresses": steps(
        {"_op": "filter", "field": "ip", "value": "10.0.0.0/8", "filter_by": "ip_range"}
    ),
    "filter by dates": steps(
        {"_op": "filter_by_date", "date_field": "created", "limit_past": "1 week", "limit_future": "1 day"}
    ),
    "filter by required fields": steps(
        {"_op": "filter_by_required_fields", "required_fields": ["name"], "filter_type": "OR"}
    ),
    "filter by unknown fields": steps({"_op": "filter_by_unknown_fields", "known_fields": ["name"]}),
    "sample at random": steps({"_op": "sample_random", "probability_to_keep": 25}),
    "sample exactly": steps({"_op": "sample_exact", "percent_kept": 50}),
    "sample exactly, with digits as text": steps({"_op": "sample_exact", "percent_kept": "50"}),
    "drop a field in a range": steps(
        {
            "_op": "drop_field_conditional",
            "field": "age",
            "validation_method": "inNumberRange",
            "validation_args": {"min": 2, "max": 4},
        }
    ),
    "generate a size in text": job({"_op": "data_generator", "size": "25"}, "noop"),
    "dedupe": steps({"_op": "dedupe", "field": "name"}),
    # --- groups and windows ---
    "accumulate": steps({"_op": "accumulate", "empty_after": 5}, lifecycle="persistent"),
    "accumulate by key": steps(
        {"_op": "accumulate_by_key", "empty_after": 5, "batch_return": True, "batch_size": 100},
        "data_window_to_array",
        lifecycle="persistent",
    ),
    "group": steps({"_op": "group_by", "field": "city"}),
    "window": steps({"_op": "window", "window_type": "tumbling", "window_length": 1000}),
    "sort": steps({"_op": "sort", "field": "name", "order": "desc"}),
    "count by field": steps({"_op": "count_by_field", "field": "city", "collect_metrics": False}),
    "count unique": steps({"_op": "count_unique", "field": "city"}),
    # --- others ---
    "print": steps({"_op": "stdout", "limit": 3}),
    "collect": steps({"_op": "collect", "wait": "1s", "size": 100}),
    "call a program": steps({"_op": "script", "command": "cat", "args": [], "options": {}}),
    "an execution as a client has read it": steps(
        "noop",
        __metadata={"cli": {"cluster": "localhost"}},
        ex_id="0" * 36,
        _context="ex",
        _created="2026-01-01T00:00:00.000Z",
        _updated="2026-01-01T00:00:00.000Z",
        _status="completed",
        _has_errors=False,
        _slicer_stats={},
    ),
}
