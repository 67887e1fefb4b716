"""The words of a text: how text fields are searched.

A text is searched by its words, whatever their case. They are stored beside it, because the database knows
upper and lower case of ASCII only, and to ask Python for each row would take the interpreter from everybody
else, row after row.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"\w+")


def words_of(text: object) -> list[str]:
    """Letters, digits and underscores that stand together, in lower case; nothing else has words."""
    return _WORD.findall(text.lower()) if isinstance(text, str) else []


def encode_words(words: Sequence[str]) -> str:
    """A JSON array. Words that follow each other in a text do so in this one, each between quotes."""
    return json.dumps(words, separators=(",", ":"))


def stored_words(text: object) -> str:
    """What is stored beside a text."""
    return encode_words(words_of(text))
