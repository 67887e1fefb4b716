"""Query parameters: how each kind is read, and what clients are told when it is wrong.

Values come as the list of all values given under a name. An empty one counts as absent, except where
the text says otherwise.
"""

import math
import re
from collections.abc import Sequence

import attrs

from tsd.durations import parse_duration
from tsd.errors import InvalidRequest
from tsd.operations.job_fields import WORKERS_MAX

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What JavaScript takes away from the ends of a text; Python would also take control characters."""
WINDOW_MAX = 10_000
"""`from` + `size` may not exceed it."""


@attrs.frozen(kw_only=True)
class Page:
    """Which part of a list, in which order.

    Attributes:
        sort: `field[:asc|desc]`, several separated by commas; empty for the default of the list.
    """

    size: int = 100
    start: int = 0
    sort: str = ""


def one_of(values: Sequence[str]) -> str:
    """The last value that was given, empty when there is none."""
    return values[-1].strip(BLANKS) if values else ""


def read_boolean(name: str, values: Sequence[str], *, default: bool) -> bool:
    """`true false 1 0 yes no`, in any case.

    Raises:
        InvalidRequest: Anything else.
    """
    word = one_of(values)
    if not word:
        return default
    try:
        return _BOOLEANS[word.lower()]
    except KeyError:
        raise InvalidRequest(f"{name} must be true or false, got {word[:80]}") from None


def read_flag(name: str, values: Sequence[str]) -> bool | None:
    """A boolean that may be absent: None then."""
    return read_boolean(name, values, default=False) if one_of(values) else None


def read_deleted(values: Sequence[str]) -> bool:
    """Whether to list the deleted ones (only); the empty text says yes, as in Teraslice.

    Raises:
        InvalidRequest: No boolean.
    """
    if values and not one_of(values):
        return True
    try:
        return read_boolean("deleted", values, default=False)
    except InvalidRequest:
        raise InvalidRequest("deleted query option must true or false") from None


def read_count(name: str, values: Sequence[str], *, default: int) -> int:
    """A whole number from 0, in any form that JavaScript reads as a number; fractions are cut off.

    Raises:
        InvalidRequest: No number, negative, or given several times.
    """
    word = ",".join(values).strip(BLANKS)
    if not word:
        return default
    complaint = f"{name} parameter must be a integer, got {word[:80]}"
    number = read_number(re.sub(r"(?<=\d)[_,](?=\d)", "", word)) if len(values) == 1 else math.nan
    if not math.isfinite(number):
        raise InvalidRequest(complaint)
    if number < 0:
        raise InvalidRequest(f"{name} parameter must not be negative, got {word[:80]}")
    return int(number)


def read_number(word: str) -> float:
    """A number as JavaScript's `Number()` reads it; not a number when it is none."""
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word):
        return float(word)
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,13}", word):
        return float(int(word, 16))
    return math.nan


def read_page(*, size: Sequence[str], start: Sequence[str], sort: Sequence[str]) -> Page:
    """The part of a list that is asked for.

    Raises:
        InvalidRequest: A parameter is wrong, or the window is too large.
    """
    if len(sort) > 1:
        raise InvalidRequest(f"sort parameter must be a string, got {','.join(sort)[:80]}")
    page = Page(
        size=read_count("size", size, default=100),
        start=read_count("from", start, default=0),
        sort=one_of(sort),
    )
    if page.size + page.start > WINDOW_MAX:
        raise InvalidRequest(
            f"Result Window Is Too Large: from + size is {page.size + page.start}, at most {WINDOW_MAX} work"
        )
    return page


def read_words(values: Sequence[str]) -> tuple[str, ...]:
    """Words separated by commas, or given several times; `*` among them and nothing at all mean all."""
    words = tuple(word for value in values for part in value.split(",") if (word := part.strip(BLANKS)))
    return () if "*" in words else words


def read_columns(values: Sequence[str]) -> tuple[str, ...]:
    """Names separated by commas, or given several times; empty for those that the table has by itself."""
    return tuple(name for value in values for part in value.split(",") if (name := part.strip(BLANKS)))


def read_workers(pairs: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """What to do with the number of workers: (`add`, `remove` or `total`, how many).

    Raises:
        InvalidRequest: None or several are given, or the number is no whole number from 1.
    """
    given = [(name, value.strip(BLANKS)) for name, value in pairs if name in {"add", "remove", "total"}]
    number = read_number(given[0][1]) if len(given) == 1 else math.nan
    if number > WORKERS_MAX:
        raise InvalidRequest(f"{given[0][0]}={given[0][1]}: at most {WORKERS_MAX:,} workers can be asked for")
    if not (number >= 1 and number == int(number)):
        raise InvalidRequest(
            "Must provide a valid worker parameter(add/remove/total) that is a number and greater than zero"
        )
    return given[0][0], int(number)


def read_duration_s(name: str, values: Sequence[str]) -> float | None:
    """A duration as people write it, or a number of milliseconds; None when absent.

    Raises:
        InvalidRequest: No duration.
    """
    word = one_of(values)
    if not word:
        return None
    try:
        return parse_duration(word) / 1000
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}") from error
