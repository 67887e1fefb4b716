"""test-reader: canned slices and records, for tests and for trying things out."""

from pathlib import Path
from typing import Any

import attrs
import msgspec
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations.base import Fetcher, reader
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer

_FIRST_NAMES = ("Ada", "Bo", "Chidi", "Dana", "Edo", "Farah", "Gil", "Hana", "Ivo", "Jun", "Kim")
_CITIES = ("Lagos", "Osaka", "Quito", "Turin", "Bergen")
_COUNT = 187


@attrs.define(kw_only=True)
class TestReaderConfig(OpConfig):
    """Options of test-reader."""

    __test__ = False  # for pytest, which would collect it

    fetcher_data_file_path: str | None = opt(None, doc="file with a JSON list of records, returned each time")
    slicer_data_file_path: str | None = opt(None, doc="file with a JSON list of slice requests")
    passthrough_slice: bool = opt(False, doc="the request is itself a list, which becomes the records")


class TestSlicer(Slicer):
    """Hands out canned requests: once, or again and again in a persistent job."""

    __test__ = False

    @override
    def initialize(self) -> None:
        path = self.config.slicer_data_file_path
        self._requests = _read_list(path) if path else [{"start": i, "end": i + 1} for i in range(10)]
        self._position = 0
        self._is_once = self.execution.get("lifecycle", "once") == "once"

    @override
    def is_recoverable(self) -> bool:
        return False

    @override
    def slice(self) -> Any:
        if self._position >= len(self._requests):
            if self._is_once or not self._requests:
                return None
            self._position = 0
        self._position += 1
        return self._requests[self._position - 1]


@reader("test-reader", config=TestReaderConfig, slicer=TestSlicer)
class TestFetcher(Fetcher):
    """Returns the same canned records for each slice, or those that the request is."""

    __test__ = False

    @override
    def initialize(self) -> None:
        path = self.config.fetcher_data_file_path
        self._records = _read_list(path) if path else _people()

    @override
    def fetch(self, request: Any) -> Any:
        if not self.config.passthrough_slice:
            return [Record(record) for record in self._records]
        if not isinstance(request, list):
            raise OperationError("test-reader with passthrough_slice needs a list as slice request")
        return request


def _read_list(path: str) -> list[Any]:
    value = msgspec.json.decode(Path(path).read_bytes())
    if not isinstance(value, list):
        raise OperationError(f"{path} does not hold a JSON list")
    return value


def _people() -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "name": _FIRST_NAMES[i % len(_FIRST_NAMES)],
            "age": 18 + i * 7 % 60,
            "city": _CITIES[i % len(_CITIES)],
            "registered": i % 3 == 0,
        }
        for i in range(_COUNT)
    ]
