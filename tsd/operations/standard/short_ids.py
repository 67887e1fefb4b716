"""add_short_id: short random ids."""

import string
from random import Random

import attrs
from typing_extensions import override

from tsd.operations import formats
from tsd.operations.base import operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record
from tsd.operations.standard.draws import rng_of
from tsd.operations.standard.paths import set_path
from tsd.operations.windows import WindowProcessor

DICTIONARIES = {
    "number": string.digits,
    "alpha": string.ascii_letters,
    "alpha_lower": string.ascii_lowercase,
    "alpha_upper": string.ascii_uppercase,
    "alphanum": string.digits + string.ascii_letters,
    "alphanum_lower": string.digits + string.ascii_lowercase,
    "alphanum_upper": string.digits + string.ascii_uppercase,
    "hex": string.digits + "abcdef",
}
_LENGTHS = range(2, 17)


def _length(value: object) -> int:
    length = formats.natural(value)
    if length not in _LENGTHS:
        raise ValueError(f"must be from {_LENGTHS[0]} to {_LENGTHS[-1]}")
    return length


@attrs.define(kw_only=True)
class AddShortIdConfig(OpConfig):
    """Options of add_short_id."""

    field: str = opt(convert=formats.required_string, doc="path of the field that gets the id")
    length: int = opt(10, convert=_length, doc="letters in an id, from 2 to 16")
    dictionary: str = opt("alphanum", choices=tuple(DICTIONARIES), doc="which letters")


@operation("add_short_id", config=AddShortIdConfig)
class AddShortId(WindowProcessor):
    """Gives each record a random id. A slice that is run again gives the same ones."""

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        self._rng: Random = rng_of(self)
        return super().on_batch(records)

    @override
    def apply(self, records: list[Record]) -> list[Record]:
        field, length = self.config.field, self.config.length
        letters, choices = DICTIONARIES[self.config.dictionary], self._rng.choices
        kept = []
        for record in records:
            short_id = "".join(choices(letters, k=length))
            try:
                set_path(record, field, short_id)
            except ValueError as error:
                self.reject(record, error)
            else:
                kept.append(record)
        return kept
