"""json_parser: the records that raw bytes are."""

import attrs
from typing_extensions import override

from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.faults import RECORD_FAULTS
from tsd.operations.record import Record
from tsd.operations.standard.values import told


@attrs.define(kw_only=True)
class JsonParserConfig(OpConfig):
    """Options of json_parser."""

    dead_letter_action: str = opt(
        "log", wire="_dead_letter_action", doc="throw, log, none, or the name of an API that takes rejects"
    )


@operation("json_parser", config=JsonParserConfig)
class JsonParser(BatchProcessor):
    """Puts what the raw bytes of a record say in its place, with its metadata.

    Bytes that are no JSON object, or are not there, are rejected.
    """

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        parse, parsed = Record.from_bytes, []
        for record in records:
            try:
                parsed.append(parse(record.get_raw_data(), "json", record.metadata))
            except RECORD_FAULTS as error:
                self.reject(record, told(error))
        return parsed
