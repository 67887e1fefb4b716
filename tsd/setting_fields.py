"""How one setting of the cluster file is declared and read: its type, unit, default and meaning.

A setting is an attrs field made by `setting`. What it carries is the only source for the checks of
`tsd.settings`, for `tsd config show`, for docs/configuration.md and for the files in config/.

Every reader takes a raw value as YAML gave it and returns the typed one, or raises WrongValue with a
message that says what is allowed and what was found.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tsd.addresses import check_host
from tsd.durations import parse_duration

AT_ONCE = "at once"
"""A daemon that reads the cluster file again applies it."""
NEW_PROCESSES = "new processes"
"""The same, for controllers and workers that are started from then on."""
RESTART = "restart"
"""It holds until the daemons start again."""

METADATA_KEY = "tsd_setting"
"""Where an attrs field carries its `Setting`."""

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|kib|mb|mib|gb|gib)?", re.IGNORECASE)
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "kib": 1024,
    "mb": 1000**2,
    "mib": 1024**2,
    "gb": 1000**3,
    "gib": 1024**3,
}


class WrongValue(ValueError):
    """A raw value is not what its setting allows; the message says what is."""


@attrs.frozen(kw_only=True)
class Setting:
    """What is known of one setting besides its value.

    Attributes:
        key: Its name in the file.
        kind: Type in words, such as `port` or `list of texts`.
        unit: Unit of a bare number in the file; empty when it has none.
        doc: What it does and what to weigh, one paragraph.
        read: Raw value to typed value; raises ValueError (`WrongValue`, or the one of `parse_duration`).
        default: The raw default, as one would write it in the file.
        default_text: Says a default that depends on the machine; None when `default` is fixed.
        reload: What a reload of the cluster file does with it: `AT_ONCE`, `NEW_PROCESSES` or `RESTART`.
    """

    key: str
    kind: str
    unit: str
    doc: str
    read: Callable[[object], Any]
    default: object
    default_text: str | None
    reload: str


def setting(
    key: str,
    read: Callable[[object], Any],
    default: object,
    *,
    kind: str,
    doc: str,
    unit: str = "",
    default_text: str | None = None,
    reload: str = RESTART,
) -> Any:
    """An attrs field for the setting `key`; its default is `read(default)`."""
    spec = Setting(
        key=key,
        kind=kind,
        unit=unit,
        doc=doc,
        read=read,
        default=default,
        default_text=default_text,
        reload=reload,
    )
    return attrs.field(factory=lambda: read(default), metadata={METADATA_KEY: spec})


def setting_of(field: "attrs.Attribute[Any]") -> Setting:
    """The `Setting` that an attrs field carries; KeyError when it carries none."""
    spec = field.metadata[METADATA_KEY]
    assert isinstance(spec, Setting)
    return spec


def shown(value: object) -> str:
    """A raw value as a fault message quotes it: short, and never a secret-sized dump."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(value: object) -> str:
    """A text that is not empty; numbers are taken as their digits."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"must be a text that is not empty, got {shown(value)}")
    return value


def read_host(value: object) -> str:
    """An IP address, or a name that a resolver may know; brackets around IPv6 are taken off."""
    try:
        return check_host(read_text(value))
    except WrongValue:
        raise
    except ValueError as error:
        raise WrongValue(str(error)) from error


def read_bool(value: object) -> bool:
    """True or false, also as the words and digits that config files use."""
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise WrongValue(f"must be true or false, got {shown(value)}")


def read_int(minimum: int, maximum: int | None = None) -> Callable[[object], int]:
    """A reader of whole numbers within the limits, both included."""
    limits = f"at least {minimum}" if maximum is None else f"{minimum}..{maximum}"

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongValue(f"must be a whole number, {limits}, got {shown(value)}")
        if value < minimum or (maximum is not None and value > maximum):
            raise WrongValue(f"must be {limits}, got {value}")
        return value

    return read


def read_port(value: object) -> int:
    """A TCP port; 0 means any free one."""
    if value == 0 and not isinstance(value, bool):
        return 0
    return read_int(1, 65535)(value)


def read_port_range(value: object) -> tuple[int, int]:
    """Two ports as in `45679:46678`, the first lower than the second, both included."""
    match = re.fullmatch(r"\s*(\d+):(\d+)\s*", value) if isinstance(value, str) else None
    if match is None:
        raise WrongValue(f'must be two ports such as "45679:46678", got {shown(value)}')
    first, last = int(match[1]), int(match[2])
    if not 1 <= first < last <= 65535:
        raise WrongValue(f"must be two ports of 1..65535, the lower one first, got {value!r}")
    return first, last


def read_seconds(minimum_s: float = 0.001) -> Callable[[object], float]:
    """A reader of durations into seconds: a number is milliseconds, a text carries its unit."""

    def read(value: object) -> float:
        seconds = parse_duration(value) / 1000
        if seconds < minimum_s:
            raise WrongValue(f"must be at least {minimum_s * 1000:g} ms, got {shown(value)}")
        return seconds

    return read


def read_size(value: object) -> int:
    """A size in bytes: a number, or a text with a unit such as `10 MiB`."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()]) if match else 0
    if size < 1:
        raise WrongValue(f'must be a size in bytes such as 1048576 or "10 MiB", got {shown(value)}')
    return size


def read_path(value: object) -> Path:
    """A path; `~` is the home folder. Relative ones are resolved by `tsd.settings`."""
    try:
        return Path(read_text(value)).expanduser()
    except RuntimeError as error:
        raise WrongValue(f"{value}: HOME is not set and the user has no home folder") from error


def read_choice(*choices: str) -> Callable[[object], str]:
    """A reader of one of the given words."""

    def read(value: object) -> str:
        if value not in choices:
            raise WrongValue(f"must be one of {', '.join(choices)}, got {shown(value)}")
        return str(value)

    return read


def read_texts(value: object) -> tuple[str, ...]:
    """A list of texts; one text alone is a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise WrongValue(f"must be a list of texts, got {shown(value)}")
    return tuple(read_text(item) for item in value)


def read_text_map(value: object) -> dict[str, str]:
    """A mapping of texts to texts, such as labels and environment variables."""
    if not isinstance(value, Mapping):
        raise WrongValue(f"must be a mapping of names to texts, got {shown(value)}")
    pairs: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, bool) or not isinstance(item, (str, int, float)) or item == "":
            raise WrongValue(f"the value of {key} must be a text that is not empty, got {shown(item)}")
        pairs[read_text(key)] = str(item)
    return pairs


def optional(read: Callable[[object], Any]) -> Callable[[object], Any]:
    """A reader that lets None through: the setting may stay unset."""

    def read_optional(value: object) -> Any:
        return None if value is None else read(value)

    return read_optional


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this host only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
