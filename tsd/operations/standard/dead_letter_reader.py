"""dead_letter_reader: the reader of replays."""

from typing import Any

from typing_extensions import override

from tsd.core.letters import REPLAY_READER
from tsd.operations.base import LateFetcher, reader
from tsd.operations.letters import record_of
from tsd.operations.record import Record
from tsd.operations.slicers import Slicer


class DeadLetterSlicer(Slicer):
    """Makes nothing: the slices of a replay are stored together with its execution."""

    @override
    def is_recoverable(self) -> bool:
        return True

    @override
    def slice(self) -> None:
        return None


@reader(REPLAY_READER, slicer=DeadLetterSlicer)
class DeadLetterFetcher(LateFetcher):
    """Gives records that were dead letters to the operation that rejected them.

    Jobs that `_replay` makes have it. The letters are in the requests of their slices. In a job that you post
    it reads nothing.
    """

    @override
    def fetch(self, request: Any) -> list[Record]:
        return [record_of(letter) for letter in request["letters"]]

    @override
    def enters_at(self, request: Any) -> int:
        return int(request["position"])
