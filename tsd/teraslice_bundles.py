"""The public bundles of Teraslice, which job files name, and what tsd has of them.

In Teraslice `data_generator` is in the bundle `standard`, `file_reader` in `file`, and a job has to list them
in `assets`. In tsd these operations are built in, so the names of these bundles stand for what is built in
wherever a job may name a bundle. Whether tsd has an operation is asked of the registry and not written here.
"""

from collections.abc import Mapping

_RULES = "tsd has no operations with rule files; `derive` computes fields, `filter` selects records"
_OPENSEARCH = "connectors to Elasticsearch and OpenSearch are not in tsd yet"
_KAFKA = "connectors to Kafka are not in tsd yet"
_S3 = "connectors to S3 are not in tsd yet"
_HDFS = "Teraslice has removed it too"
_CHAOS = "it makes faults for tests"

BUNDLES: Mapping[str, Mapping[str, str]] = {
    "standard": {
        "accumulate": "",
        "accumulate_by_key": "",
        "add_date": "`derive` makes such a field",
        "add_key": "",
        "add_short_id": "",
        "copy_field": "",
        "copy_metadata_field": "",
        "copy_property": "it is `copy_field` now",
        "count_by_field": "",
        "count_unique": "",
        "create_geopoint": "`derive` makes such a field",
        "data_generator": "",
        "data_window_to_array": "",
        "date_guard": "it is `filter_by_date` now",
        "date_router": "",
        "debug_routes": "",
        "dedupe": "",
        "drop_docs": "it is `sample_random` now, whose `percentage` is what stays, not what is dropped",
        "drop_field": "",
        "drop_field_conditional": "",
        "extraction": _RULES,
        "field_router": "",
        "filter": "",
        "filter_by_date": "",
        "filter_by_required_fields": "",
        "filter_by_unknown_fields": "",
        "flatten_object": "write it as a processor of your own",
        "group_by": "",
        "hash_router": "",
        "job_metric_api": "operations have `self.ctx.metrics`, which need no API",
        "json_parser": "",
        "keep_field": "`fields` of `file_exporter`, or `filter_by_unknown_fields`, keep certain fields",
        "key_router": "",
        "match": _RULES,
        "output": _RULES,
        "partition_by_date": "it is `date_router` now",
        "partition_by_fields": "it is `field_router` now",
        "partition_by_hash": "it is `hash_router` now",
        "partition_by_key": "it is `key_router` now",
        "post_process": _RULES,
        "remove_empty_fields": "",
        "remove_key": "",
        "rename_field": "`copy_field` with `delete_source` renames",
        "routed_sender": "",
        "sample": "it is `sample_exact` now",
        "sample_exact": "",
        "sample_exact_es_percent": "`sample_exact` has a fixed percentage",
        "sample_random": "",
        "script": "",
        "selection": _RULES,
        "set_field": "",
        "set_field_conditional": "",
        "set_key": "",
        "sort": "",
        "stdout": "",
        "transform": _RULES,
        "window": "",
    },
    "file": {
        "compressed_file_reader": "`file_reader` reads compressed files",
        "csv_exporter": "`file_exporter` writes csv",
        "file_exporter": "",
        "file_reader": "",
        "file_reader_api": "",
        "file_sender_api": "",
        "file_timeseries_router": "`date_router` and `routed_sender` do this",
        "hdfs_append": _HDFS,
        "hdfs_exporter": _HDFS,
        "hdfs_reader": _HDFS,
        "hdfs_reader_api": _HDFS,
        "hdfs_sender_api": _HDFS,
        "s3_exporter": _S3,
        "s3_reader": _S3,
        "s3_reader_api": _S3,
        "s3_sender_api": _S3,
        "timeseries_path_partitioner": "`date_router` and `routed_sender` do this",
    },
    "elasticsearch": {
        "elasticsearch_bulk": _OPENSEARCH,
        "elasticsearch_data_generator": "it is `data_generator` now",
        "elasticsearch_index_selector": _OPENSEARCH,
        "elasticsearch_reader": _OPENSEARCH,
        "elasticsearch_reader_api": _OPENSEARCH,
        "elasticsearch_sender_api": _OPENSEARCH,
        "elasticsearch_state_storage": "`state_storage` keeps state in files",
        "id_reader": _OPENSEARCH,
        "simple_api_reader": _OPENSEARCH,
        "spaces_reader": _OPENSEARCH,
        "spaces_reader_api": _OPENSEARCH,
        "spaces_sender_api": _OPENSEARCH,
    },
    "kafka": {
        "kafka_dead_letter": "`dead_letter_file`, or the action `store`, keeps rejected records",
        "kafka_reader": _KAFKA,
        "kafka_reader_api": _KAFKA,
        "kafka_sender": _KAFKA,
        "kafka_sender_api": _KAFKA,
    },
    "chaos": {
        "duplicate_key_counter": _CHAOS,
        "faulty_processor": _CHAOS,
        "faulty_slicer": _CHAOS,
        "kafka_queue_buster_generator": _CHAOS,
        "kafka_queue_buster_length": _CHAOS,
        "kafka_queue_buster_reader": _CHAOS,
        "kafka_queue_buster_size": _CHAOS,
        "oom_slicer": _CHAOS,
    },
}
"""Bundle to its operations and APIs, of all its releases, and what to use where tsd does not have one."""

OTHER_NAMES: Mapping[str, str] = {
    "standard-assets": "standard",
    "file-assets": "file",
    "elasticsearch-assets": "elasticsearch",
    "kafka-assets": "kafka",
    "chaos-assets": "chaos",
}
"""The names of their repositories, by which people know them too."""

USUAL_NAMES: Mapping[str, str] = {
    "csv_reader": "file_reader",
    "csv_writer": "file_exporter",
    "file_sender": "file_exporter",
    "file_writer": "file_exporter",
    "json_exporter": "file_exporter",
    "json_reader": "file_reader",
    "ldjson_reader": "file_reader",
    "tsv_exporter": "file_exporter",
    "tsv_reader": "file_reader",
}
"""What people call operations that have another name here, and that is not close to it."""


def public_name(identifier: str) -> str | None:
    """The public bundle that an identifier, as in `standard:2.1.2`, means; None when it is none."""
    name = identifier.partition(":")[0]
    name = OTHER_NAMES.get(name, name)
    return name if name in BUNDLES else None


def home_of(operation: str) -> str | None:
    """The public bundle that has an operation or API."""
    return next((bundle for bundle, operations in BUNDLES.items() if operation in operations), None)


def instead_of(operation: str) -> str:
    """What to use in place of one that tsd does not have; empty when nothing is known."""
    bundle = home_of(operation)
    return "" if bundle is None else BUNDLES[bundle][operation]
