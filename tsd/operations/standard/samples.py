"""sample_exact and sample_random: keep some of the records."""

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.draws import rng_of

_ALL = 100


def _percent(value: object) -> float:
    percent = formats.number(value)
    if not 0 <= percent <= _ALL:
        raise ValueError("must be from 0 to 100")
    return percent


@attrs.define(kw_only=True)
class SampleExactConfig(OpConfig):
    """Options of sample_exact."""

    percent_kept: float = opt(100, convert=_percent, doc="how many of each 100 records of a slice are kept")
    seed: int | None = opt(None, doc="takes another sample; tsd's own")


@operation("sample_exact", config=SampleExactConfig)
class SampleExact(BatchProcessor):
    """Keeps exactly that share of the records of a slice, rounded down, in another order.

    A slice that is run again keeps the same ones.
    """

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        count = int(len(records) * self.config.percent_kept / _ALL)
        return rng_of(self, self.config.seed).sample(records, count)


@attrs.define(kw_only=True)
class SampleRandomConfig(OpConfig):
    """Options of sample_random."""

    probability_to_keep: float = opt(100, convert=_percent, doc="percent; fractions count")
    seed: int | None = opt(None, doc="takes another sample; tsd's own")


@operation("sample_random", config=SampleRandomConfig)
class SampleRandom(BatchProcessor):
    """Keeps each record with that probability. A slice that is run again keeps the same ones."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        draw, limit = rng_of(self, self.config.seed).random, self.config.probability_to_keep / _ALL
        return [record for record in records if draw() < limit]
