"""dead_letter_reader: the reader of replays."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from typing_extensions import override

from tsd.core.letters import READ_AGAIN, REPLAY_READER
from tsd.errors import NonRetryable
from tsd.operations import formats
from tsd.operations.base import LateFetcher, reader
from tsd.operations.config import OpConfig, load, opt
from tsd.operations.fragments import Fragment
from tsd.operations.letters import bytes_of, record_of
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer
from tsd.operations.standard.file_decode import Decoder
from tsd.operations.standard.file_reader import FileReaderConfig, reader_options
from tsd.operations.standard.fragment_places import Refuse, place_of

_OF_FRAGMENTS = ("byte_offset", "line", "columns")
"""Metadata of what was refused that a record does not have."""


def _reader(value: object) -> dict[str, Any] | None:
    if value is None or isinstance(value, dict):
        return value
    raise ValueError(f"Invalid input: expected object, received {formats.type_word(value)}")


@attrs.define(kw_only=True)
class DeadLetterReaderConfig(OpConfig):
    """Options of dead_letter_reader."""

    reader: dict[str, Any] | None = opt(
        None, convert=_reader, doc="the file_reader by whose options is read again what it rejected"
    )


class DeadLetterSlicer(Slicer):
    """Makes nothing: the slices of a replay are stored together with its execution."""

    @override
    def is_recoverable(self) -> bool:
        return True

    @override
    def slice(self) -> None:
        return None


@reader(REPLAY_READER, config=DeadLetterReaderConfig, slicer=DeadLetterSlicer)
class DeadLetterFetcher(LateFetcher):
    """Gives records that were dead letters to the operation that rejected them.

    What a file_reader rejected is read again, by the options that the job has now; what still is no record is
    rejected again. Jobs that `_replay` makes have it. The letters are in the requests of their slices. In a
    job that you post it reads nothing.
    """

    @override
    def initialize(self) -> None:
        self._decoder: Decoder | None = None
        if self.config.reader is not None:
            config, _ = load(FileReaderConfig, self.config.reader)
            self._decoder = Decoder(reader_options(config, self.ctx))

    @override
    def fetch(self, request: Any) -> list[Record]:
        letters = request["letters"]
        if request["position"] != READ_AGAIN:
            return [record_of(letter) for letter in letters]
        return [record for letter in letters for record in self._read_again(letter)]

    def _read_again(self, letter: Mapping[str, Any]) -> list[Record]:
        metadata = dict(letter.get("metadata") or {})
        refuse = _Again(self, metadata)
        if self._decoder is None:
            raise NonRetryable("the reader whose dead letters these are is not known")
        at, columns = int(metadata.get("byte_offset", 0)), metadata.get("columns") or ()
        records = self._decoder.decode_again(bytes_of(letter), refuse, at=at, columns=columns)
        kept = {name: value for name, value in metadata.items() if name not in _OF_FRAGMENTS}
        for record in records:
            record.metadata.update(kept)
        return records

    @override
    def enters_at(self, request: Any) -> int:
        return int(request["position"])


class _Again(Refuse):
    """Rejects what still is no record, with the place that it had."""

    def __init__(self, fetcher: DeadLetterFetcher, metadata: dict[str, Any]) -> None:
        self._fetcher = fetcher
        self._metadata = metadata
        self.columns: Sequence[str] = ()

    @override
    def __call__(self, data: bytes, offset: int, reason: str) -> None:
        where = ""
        if path := self._metadata.get("path"):
            where = f"file {path}, {place_of(offset, self._metadata.get('line'))}: "
        self._fetcher.reject(Fragment.of(data, self._metadata), NonRetryable(f"{where}{reason}"))
