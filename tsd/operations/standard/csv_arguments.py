"""The arguments for the csv parser that Teraslice hands on, as far as Python's own can follow them."""

from collections.abc import Callable, Mapping
from typing import Any

from tsd.operations import formats


def _character(value: object) -> str:
    if isinstance(value, str) and len(value) == 1 and value not in "\r\n":
        return value
    raise ValueError("must be one character, and no line break")


def _quote(value: object) -> str:
    return "off" if value == "off" or value is False else _character(value)


_KNOWN: Mapping[str, Callable[[object], Any]] = {
    "delimiter": _character,
    "quote": _quote,
    "escape": _character,
    "trim": formats.boolean,
    "ignoreEmpty": formats.boolean,
    "checkColumn": formats.boolean,
    "relax": formats.boolean,
}
_INSTEAD = {
    "headers": "use fields",
    "noheader": "use remove_header",
    "eol": "use line_delimiter",
    "checkType": "values stay text; use derive",
    "includeColumns": "use a processor that drops fields",
    "ignoreColumns": "use drop_field",
}


def csv_arguments(value: object) -> dict[str, Any]:
    """The arguments, each checked.

    Raises:
        ValueError: With every one that is wrong or not known.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"Invalid input: expected object, received {formats.type_word(value)}")  # noqa: TRY004 - a fault of the job
    arguments, faults = {}, []
    for name, entry in value.items():
        if name not in _KNOWN:
            known = _INSTEAD.get(name, f"only {', '.join(_KNOWN)} are")
            faults.append(f"{name} is not supported: {known}")
            continue
        try:
            arguments[name] = _KNOWN[name](entry)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return arguments
