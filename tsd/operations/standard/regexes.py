r"""Regular expressions as JavaScript writes them, for Python's engine.

Job files of Teraslice have `/pattern/flags`. Most of the two languages is one; what means something else in
Python is rewritten: `\d`, `\w` and `\b` know ASCII only, `.` stops at four line breaks, `$` is the very
end, groups are named `(?<name>...)`. What Python's engine does not have is refused, with a sentence, when
the job is posted.
"""

import re

from tsd.operations import formats

FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_IGNORED_FLAGS = "dguvy"
_ASCII_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
_OUTSIDE = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[A-Za-z0-9_]",
    "W": "[^A-Za-z0-9_]",
    "b": "(?a:\\b)",
    "B": "(?a:\\B)",
}
_NO_LINE_BREAK = "[^\\n\\r\\u2028\\u2029]"


def compile_regex(text: str) -> "re.Pattern[str]":
    """A pattern of `/text/flags`, or of the text alone; the flags d, g, u, v and y mean nothing here.

    Raises:
        ValueError: It is no pattern.
    """
    match = re.fullmatch(r"/(.*)/([^/]*)", text, re.DOTALL)
    body, flags = match.groups() if match else (text, "")
    odd = sorted(set(flags) - set(FLAGS) - set(_IGNORED_FLAGS))
    if odd:
        raise ValueError(
            f"{text}: there is no flag {odd[0]!r}; flags are {', '.join((*FLAGS, *_IGNORED_FLAGS))}"
        )
    try:
        return re.compile(_translated(body, flags), sum(FLAGS.get(flag, 0) for flag in set(flags)))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{text} is no regular expression that can be used here: {error}") from error


def _translated(body: str, flags: str) -> str:
    """The pattern in Python's form."""
    out: list[str] = []
    position = 0
    while position < len(body):
        letter = body[position]
        if letter == "\\":
            part, position = _escape(body, position)
        elif letter == "[":
            part, position = _class(body, position)
        elif letter == "(" and (match := _GROUP.match(body, position)):
            part, position = f"(?P<{match[1]}>", match.end()
        else:
            part, position = _PLAIN.get((letter, letter == "$" and "m" in flags), letter), position + 1
            if letter == "." and "s" in flags:
                part = "."
        out.append(part)
    return "".join(out)


_GROUP = re.compile(r"\(\?<([A-Za-z_$][\w$]*)>")
_PLAIN = {(".", False): _NO_LINE_BREAK, ("$", False): "\\Z"}
_NAMED = re.compile(r"\\k<([^>]+)>")
_CLASS_LETTERS = frozenset("dDwWsS")
_CLASS_AHEAD = re.compile(r"\\[dDwWsS]")
_POINT = re.compile(r"\\u\{([0-9A-Fa-f]{1,6})\}")


def _escape(body: str, position: int) -> tuple[str, int]:
    """What a backslash and what follows it become, and where to go on."""
    if match := _NAMED.match(body, position):
        return f"(?P={match[1]})", match.end()
    if match := _POINT.match(body, position):
        return f"\\U{int(match[1], 16):08x}", match.end()
    pair = body[position : position + 2]
    letter = pair[1:]
    if letter in ("p", "P"):
        raise re.error("there are no \\p classes: write the letters")
    if letter == "/":
        return "/", position + 2
    return _OUTSIDE.get(letter, pair), position + 2


def _class(body: str, position: int) -> tuple[str, int]:
    """What a set in brackets becomes, and where to go on."""
    end = position + 1
    is_negated = body[end : end + 1] == "^"
    end += is_negated
    if body[end : end + 1] == "]":  # `[]` is nothing and `[^]` anything
        return ("(?s:.)" if is_negated else "(?!)"), end + 1
    out = ["[^" if is_negated else "["]
    while end < len(body) and body[end] != "]":
        if body[end] == "\\":
            letter = body[end + 1 : end + 2]
            if letter in ("p", "P"):
                raise re.error("there are no \\p classes: write the letters")
            if match := _POINT.match(body, end):
                out.append(f"\\U{int(match[1], 16):08x}")
                end = match.end()
                continue
            out.append(_ASCII_CLASSES.get(letter, "/" if letter == "/" else "\\" + letter))
            end += 2
            if letter in _CLASS_LETTERS and body[end : end + 1] == "-":  # after a class it is no range
                out.append("\\-")
                end += 1
        else:
            is_plain = body[end] in "[&|~" or (body[end] == "-" and _CLASS_AHEAD.match(body, end + 1))
            out.append("\\" + body[end] if is_plain else body[end])  # Python keeps [[ and && for later
            end += 1
    if end >= len(body):
        raise re.error("a [ is not closed")
    return "".join(out) + "]", end + 1


def regex_text(value: object) -> str:
    """A converter of options that hold a regular expression; the text itself."""
    text = formats.required_string(value)
    compile_regex(text)
    return text
