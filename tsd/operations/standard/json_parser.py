"""json_parser: the records that raw bytes are."""

from typing import Any

import attrs
import msgspec
from typing_extensions import override

from tsd.errors import NonRetryable
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS, json_reason
from tsd.operations.record import Record

_NO_BYTES = (
    "no record of the slice holds raw bytes: let its reader keep them, as file_reader does of lines of "
    'ldjson with "_encoding": "raw"; texts in fields are not looked at'
)

_object = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.define(kw_only=True)
class JsonParserConfig(OpConfig):
    """Options of json_parser."""

    dead_letter_action: str = opt(
        "log", wire="_dead_letter_action", doc="throw, log, none, or the name of an API that takes rejects"
    )


@operation("json_parser", config=JsonParserConfig)
class JsonParser(BatchProcessor):
    """Puts what the raw bytes of a record say in its place, with its metadata.

    Bytes that are no JSON object, or are not there, are rejected. When no record of a slice has any, the
    slice fails: then it is the reader that keeps none, such as a `file_reader` without `"_encoding": "raw"`.
    """

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if records and all(record.get_raw_data_or_none() is None for record in records):
            raise NonRetryable(_NO_BYTES)
        parsed = []
        for record in records:
            data = record.get_raw_data_or_none()
            if data is None:
                self.reject(record, ValueError("the record holds no raw data"))
                continue
            try:
                made = Record(_object(data))
            except RECORD_FAULTS as error:
                self.reject(record, ValueError(json_reason(data, error)))
            else:
                made.metadata.update(record.metadata)
                parsed.append(made)
        return parsed
