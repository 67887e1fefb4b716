"""How values and names are shown in messages for people."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

LENGTH_MAX = 100
"""Longer values are cut: a message is to be read."""
WORD_MAX = 80
"""Longer words are no name with a slip of the pen, and comparing them takes long."""


def in_json(value: Any, length_max: int = LENGTH_MAX) -> str:
    """A value as a job file has it: `null`, `true`, `"text"`, cut to `length_max` characters.

    Whatever is no JSON is shown as the text of its JSON text or, failing that, of Python's.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        text = f"{type(value).__name__} that is nested too deeply to be shown"
    except (ValueError, TypeError):
        text = str(value)
    # A lone surrogate cannot be printed or sent; its escape can.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= length_max else f"{text[: length_max - 4]} ..."


def bare(value: Any, length_max: int = LENGTH_MAX) -> str:
    """As `in_json`, but a text has no quotation marks: for places that name something."""
    if not isinstance(value, str):
        return in_json(value, length_max)
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= length_max else f"{text[: length_max - 4]} ..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known name that is close to a word; empty when none is."""
    close = closest(word, known)
    return f"; did you mean {close}?" if close else ""


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that somebody probably meant, else None.

    Args:
        word: What was written; case, underscores and hyphens do not count as differences.
        known: What could have been written.
        cutoff: How close it must be, from 0 to 1.
    """
    if len(word) > WORD_MAX:
        return None
    by_letters: dict[str, str] = {}
    for name in known:
        by_letters.setdefault(_letters(name), name)
    found = difflib.get_close_matches(_letters(word), list(by_letters), n=1, cutoff=cutoff)
    return by_letters[found[0]] if found else None


def _letters(name: str) -> str:
    return "".join(char for char in name.lower() if char not in "_- ")
