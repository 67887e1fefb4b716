"""data_generator: makes fake records, with nothing to set up; most people's first reader."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import attrs
import msgspec
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations import formats
from tsd.operations.base import Fetcher, reader
from tsd.operations.config import OpConfig, opt
from tsd.operations.dates import now_ms, parse_time
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer
from tsd.operations.standard.fakes import ID_ALPHABETS, Person, date_maker, id_maker, schema_maker

_FORMATS = ("dateNow", "utcDate", "isoBetween", "utcBetween")
_QUEUE_PER_WORKER = 3


def _size(value: object) -> int:
    size = formats.number(value)
    if size < 1:
        raise ValueError("must be greater than zero")
    return int(size)


def _word(value: object, words: tuple[str, ...]) -> str | None:
    """One of the words; empty text, as files have it whose authors keep the key, is none of them."""
    return None if value == "" else formats.one_of(words)(value)


def _one_of(words: tuple[str, ...], doc: str) -> Any:
    convert = partial(_word, words=words)
    return opt(None, choices=words, convert=convert, schema={"enum": [*words, "", None]}, doc=doc)


@attrs.define(kw_only=True)
class DataGeneratorConfig(OpConfig):
    """Options of data_generator."""

    size: int = opt(
        5000,
        convert=_size,
        doc="records in all; in each slice when the job is persistent",
        schema={"type": "number", "minimum": 1},
    )
    json_schema: str | None = opt(None, doc="JSON file that describes the fields")
    start: str | int | float | None = opt(
        None, convert=formats.optional_date, doc="first date of the Between formats; 1970"
    )
    end: str | int | float | None = opt(
        None, convert=formats.optional_date, doc="last date of the Between formats; now"
    )
    format: str | None = _one_of(_FORMATS, doc="how dates are made and written; dateNow")
    date_key: str = opt("created", convert=formats.required_string, doc="name of the date field")
    stress_test: bool = opt(False, doc="make one record and repeat it")
    delay: float = opt(0, convert=formats.number, doc="seconds to wait with each slice")
    set_id: str | None = _one_of(tuple(ID_ALPHABETS), doc="adds an id of this kind")
    id_start_key: str | None = opt(None, doc="what ids begin with; [ab] is one of these characters")
    seed: int | None = opt(None, doc="makes the same records each time; tsd's own")
    read_of_last: ClassVar[frozenset[str]] = frozenset({"size"})

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if self.stress_test and self.delay:
            yield "stress_test", "cannot be used with a delay"
        if self.id_start_key is not None and self.set_id is None:
            yield "id_start_key", "needs set_id"
        elif self.set_id is not None:
            try:
                id_maker(self.set_id, self.id_start_key)
            except ValueError as error:
                yield "id_start_key", str(error)
        if self.delay < 0:
            yield "delay", "must not be negative"
        start_ms, end_ms = date_range(self)
        if start_ms > end_ms:
            yield "start", "must not be after end"


def date_range(config: DataGeneratorConfig) -> tuple[int, int]:
    """First and last moment of the Between formats, epoch milliseconds."""
    start = 0 if config.start is None else parse_time(config.start)
    end = now_ms() if config.end is None else parse_time(config.end)
    return start, end


def slice_size(execution: Mapping[str, Any], own_size: int) -> int:
    """Records per slice: the `size` of the last operation, else of its API, else the reader's own."""
    last = execution["operations"][-1]
    api_name = last.get("_api_name") or last.get("api_name")
    apis = [api for api in execution.get("apis") or () if api.get("_name") == api_name]
    for size in (last.get("size"), *(api.get("size") for api in apis)):
        if isinstance(size, int | float) and not isinstance(size, bool) and size >= 1:
            return int(size)
    return own_size


class DataGeneratorSlicer(Slicer):
    """Counts records out: `{count, processed}`, where processed is what there is with this slice.

    A slice has as many records as `size` of the last operation says, or of the API that it names, as in
    Teraslice. Without one it has `size` of them, which is all in a `once` job.
    """

    @override
    def initialize(self) -> None:
        last = self.last_slice() or {}
        self._total = self.config.size
        self._processed = int(last.get("processed", 0))
        self._slice_size = slice_size(self.execution, self.config.size)
        self._is_once = self.execution.get("lifecycle", "once") == "once"

    @override
    def slice(self) -> Any:
        count = self._slice_size
        if self._is_once:
            count = min(count, self._total - self._processed)
            if count <= 0:
                return None
        self._processed += count
        return {"count": count, "processed": self._processed}

    @override
    def is_recoverable(self) -> bool:
        return True

    @override
    def max_queue_length(self) -> int:
        if self._is_once:
            return super().max_queue_length()
        return _QUEUE_PER_WORKER * self.workers_connected


@reader("data_generator", config=DataGeneratorConfig, slicer=DataGeneratorSlicer)
class DataGenerator(Fetcher):
    """Makes the records of a slice. With a seed they follow from it and from where the slice stands."""

    @override
    def initialize(self) -> None:
        config = self.config
        self._rng = Random(config.seed)  # noqa: S311 - fake data
        self._person = Person(self._rng)
        self._date = date_maker(config.format, *date_range(config))
        self._has_moving_date = config.format in {"isoBetween", "utcBetween"}
        self._id = id_maker(config.set_id, config.id_start_key) if config.set_id else None
        self._schema = None
        if config.json_schema:
            self._schema = schema_maker(_read_schema(config.json_schema))
        self._is_plain = self._id is None and self._schema is None and not self._has_moving_date

    @override
    def fetch(self, request: Any) -> list[Record]:
        config, rng = self.config, self._rng
        if config.delay:
            self.ctx.sleep(config.delay)
        count = request["count"]
        if config.seed is not None:
            rng = Random(f"{config.seed}/{request['processed']}")  # noqa: S311 - fake data
        if config.stress_test:
            record = self._make(rng)
            return [Record(record) for _ in range(count)]
        if self._is_plain:
            make, key, date = self._person.make, config.date_key, self._date(rng)
            return [Record(make(rng, key, date)) for _ in range(count)]
        return [Record(self._make(rng)) for _ in range(count)]

    def _make(self, rng: Random) -> dict[str, Any]:
        date = self._date(rng)
        if self._schema is None:
            record = self._person.make(rng, self.config.date_key, date)
        else:
            record = {**self._schema(rng), self.config.date_key: date}
        if self._id is not None:
            record["id"] = self._id(rng)
        return record


def _read_schema(path: str) -> dict[str, Any]:
    schema = msgspec.json.decode(Path(path).read_bytes())
    if not isinstance(schema, dict):
        raise OperationError(f"{path} does not hold a JSON object")
    return schema
