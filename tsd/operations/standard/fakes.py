"""Fake values for data_generator."""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from tsd.operations.dates import now_ms, to_datetime, to_iso

_POOL_SIZE = 256  # big enough to look varied, small enough to cost a start about a millisecond
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/{0}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1.15 Version/{0}.1 Safari/605.1.15",
    "curl/8.{0}.0",
)
_HOSTS = ("example.com", "example.org", "example.net", "shop.example", "news.example")
_WORDS = ("about", "blog", "cart", "docs", "help", "index", "list", "news", "search", "users")
_LOW_BYTES, _HIGH_BYTES = 7850, 5_642_867

ID_ALPHABETS = {
    "base64url": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    "hexadecimal": "0123456789abcdef",
    "HEXADECIMAL": "0123456789ABCDEF",
}
_ID_LENGTH = {"base64url": 9, "hexadecimal": 8, "HEXADECIMAL": 8}


def _ip(rng: Random) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4))


def _ipv6(rng: Random) -> str:
    return ":".join(f"{rng.getrandbits(16):04x}" for _ in range(8))


def _agent(rng: Random) -> str:
    return rng.choice(_AGENTS).format(rng.randrange(80, 130))


def _url(rng: Random) -> str:
    return f"https://{rng.choice(_HOSTS)}/{rng.choice(_WORDS)}/{rng.getrandbits(24):x}"


def _location(rng: Random) -> str:
    return f"{rng.uniform(-90, 90):.5f}, {rng.uniform(-180, 180):.5f}"


def _uuid(rng: Random) -> str:
    bits = rng.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 4 << 76 | 2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _bytes(rng: Random) -> int:
    return _LOW_BYTES + int(rng.random() * (_HIGH_BYTES - _LOW_BYTES + 1))


FIELDS: dict[str, Callable[[Random], Any]] = {
    "ip": _ip,
    "userAgent": _agent,
    "url": _url,
    "uuid": _uuid,
    "ipv6": _ipv6,
    "location": _location,
    "bytes": _bytes,
}
"""Makers of the default fields, without the date."""


class Person:
    """Makes records with the default fields; all but uuid and bytes come from small pools, for speed."""

    def __init__(self, rng: Random) -> None:
        self._pool = [
            (_ip(rng), _agent(rng), _url(rng), _ipv6(rng), _location(rng)) for _ in range(_POOL_SIZE)
        ]

    def make(self, rng: Random, date_key: str, date: str) -> dict[str, Any]:
        """One record."""
        bits = rng.getrandbits(128 + 40)
        pool = self._pool
        # one pool entry a field, so that there are far more records than entries
        text = f"{bits & _UUID_MASK | _UUID_BITS:032x}"
        return {
            "ip": pool[bits >> 128 & 255][0],
            "userAgent": pool[bits >> 136 & 255][1],
            "url": pool[bits >> 144 & 255][2],
            "uuid": f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}",
            date_key: date,
            "ipv6": pool[bits >> 152 & 255][3],
            "location": pool[bits >> 160 & 255][4],
            "bytes": _LOW_BYTES + int(rng.random() * (_HIGH_BYTES - _LOW_BYTES + 1)),
        }


_UUID_MASK = ((1 << 128) - 1) & ~(0xF << 76) & ~(0x3 << 62)
_UUID_BITS = 4 << 76 | 2 << 62


def date_maker(kind: str | None, start_ms: int, end_ms: int) -> Callable[[Random], str]:
    """A maker of dates.

    Args:
        kind: dateNow, utcDate, isoBetween or utcBetween; None is dateNow. The utc ones end in Z, the others
            carry the local offset.
        start_ms: First moment of the between kinds, epoch milliseconds.
        end_ms: Last moment of them.
    """
    if kind == "utcDate":
        return _clock(to_iso)
    if kind == "utcBetween":
        return lambda rng: to_iso(rng.randint(start_ms, end_ms))
    if kind == "isoBetween":
        return lambda rng: _local_iso(rng.randint(start_ms, end_ms))
    return _clock(_local_iso)


def _clock(form: Callable[[int], str]) -> Callable[[Random], str]:
    """The time as text, formed once a millisecond: it costs more than the rest of a record."""
    last_ms, text = -1, ""

    def make(_rng: Random) -> str:
        nonlocal last_ms, text
        ms = now_ms()
        if ms != last_ms:
            last_ms, text = ms, form(ms)
        return text

    return make


def _local_iso(epoch_ms: int) -> str:
    return to_datetime(epoch_ms).astimezone().isoformat(timespec="milliseconds")


def id_maker(kind: str, start: str | None) -> Callable[[Random], str]:
    """A maker of ids.

    Args:
        kind: A key of `ID_ALPHABETS`.
        start: Text that ids begin with; `[abc]` in it is one of these characters, `[a-f]` a range.

    Raises:
        ValueError: A bracket is not closed.
    """
    alphabet, length = ID_ALPHABETS[kind], _ID_LENGTH[kind]
    parts = _parts(start or "")

    def make(rng: Random) -> str:
        head = "".join(rng.choice(part) for part in parts)
        return head + "".join(rng.choices(alphabet, k=max(length - len(parts), 0)))

    return make


def _parts(pattern: str) -> list[str]:
    if not re.fullmatch(r"(?:[^\[\]]|\[[^\[\]]+\])*", pattern):
        raise ValueError(f"{pattern!r} has a bracket that is not closed")
    return [
        _expand(token[1:-1]) if token.startswith("[") else token
        for token in re.findall(r"\[[^\]]+\]|.", pattern)
    ]


def _expand(characters: str) -> str:
    return re.sub(r"(.)-(.)", lambda m: "".join(chr(c) for c in range(ord(m[1]), ord(m[2]) + 1)), characters)


def schema_maker(schema: Mapping[str, Any]) -> Callable[[Random], dict[str, Any]]:
    """A maker of records of a schema of the user's.

    Each field of the schema is a constant, or an object with one of: `$field` (the name of a default field),
    `$choice` (a list), `$int` or `$float` ([low, high]).

    Raises:
        ValueError: A `$` object is none of these.
    """
    makers = {name: _value_maker(name, entry) for name, entry in schema.items()}
    return lambda rng: {name: make(rng) for name, make in makers.items()}


def _value_maker(name: str, entry: Any) -> Callable[[Random], Any]:
    match entry:
        case {"$field": str(field)} if field in FIELDS:
            return FIELDS[field]
        case {"$choice": [_, *_] as choices}:
            return lambda rng: rng.choice(choices)
        case {"$int": [int(low), int(high)]} if low <= high:
            return lambda rng: rng.randint(low, high)
        case {"$float": [int() | float() as least, int() | float() as most]}:
            return lambda rng: rng.uniform(least, most)
        case dict() if any(key.startswith("$") for key in entry):
            raise ValueError(f"{name}: {entry!r} is no $field, $choice, $int or $float")
    return lambda _rng: entry
