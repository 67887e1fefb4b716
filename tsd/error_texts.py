"""How an exception is told to people: the one text of it, for records, reasons, logs and commands.

The first line says what happened, because many readers show no more than that. A whole text is

    derive (operations[1]): ValueError: could not convert string to float: 'n/a', caused by KeyError: 'b'
      File "/srv/ops/prices.py", line 12, in on_batch
        return float(record["b"])

    Traceback (most recent call last):
      ...

1. One line: where in the job, the error, and its causes.
2. The frames of the code of users, if the error came by any, without those of tsd and of libraries.
3. Behind an empty line the traceback as Python has it. Errors that tsd raises on purpose have none, unless
   they came by the code of users.

What holds for every text made here:

* Nothing raises, whatever the exception is: its `__str__` may raise, its causes may form a ring.
* It can be stored, sent and shown on a terminal: half surrogate pairs and control characters are escapes.
* It has a limit, and says how much was left out of its middle.
"""

import itertools
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from tsd.errors import TsdError

TEXT_CHARS: Final = 20_000
"""Of a whole text."""
LINE_CHARS: Final = 1_000
"""Of a first line."""
_MESSAGE_CHARS: Final = 700
"""Of one message in a line, so that causes have room too."""
_TITLE_CHARS: Final = 200
"""Of a message above frames, which is the second time that it is shown."""
_CAUSES_SHOWN: Final = 6
_MEMBERS_SHOWN: Final = 5
_FRAMES_SHOWN: Final = 10
_NESTING: Final = 4
"""How deep groups in groups are told."""

_HINTS: Final = {
    (
        "bdb",
        "BdbQuit",
    ): "breakpoint() has no terminal here: run the job by `tsd run --in-process`"
}
"""By module and name of a class, which then need not be imported here."""

_PLACE: Final = "__tsd_place__"
_DETAIL: Final = "__tsd_detail__"

_OWN: Final = f"{Path(__file__).parent}/"
_PYTHON: Final = tuple({f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")})
_INSTALLED = re.compile(r"/(?:site|dist)-packages/|/[0-9a-f]{40}/site/")
"""Where libraries are: installed ones, and those that a bundle brings."""
_BETWEEN = re.compile(r"/(?:site|dist)-packages/(?:trio|outcome|exceptiongroup|attrs?)/")
"""Libraries that tsd calls the code of users through."""

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for tabs and line feeds
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # breaks, and what turns the direction of text
    "\ud800-\udfff]"  # half surrogate pairs
)
_CUT_CHARS: Final = 60
"""What the words of a cut take at most."""
_SENTENCE_CHARS: Final = 12
"""A text as long is a sentence, and no number or name that is in another text by chance."""


def located(error: BaseException, place: str, detail: str = "") -> None:
    """Have the texts of an error say where in the job it happened.

    Args:
        error: It keeps what it is told until it is told again.
        place: Such as `derive (operations[1])`.
        detail: Such as `record 3 of 10`; stands behind the message.
    """
    try:
        vars(error).update({_PLACE: place, _DETAIL: detail})
    except Exception:  # noqa: BLE001 - a class of users without a place for it; the text then does without
        return


def error_text(error: BaseException, *, place: str = "", limit: int = TEXT_CHARS) -> str:
    """All that there is to say of an error; see the top of the module.

    Args:
        error: What was raised.
        place: Where in the job, for example `derive (operations[1])`; else what `located` said.
        limit: Of the text, in characters.
    """
    line = error_line(error, place=place)
    try:
        rest = _rest(error)
    except Exception as fault:  # noqa: BLE001 - user code may do anything when it is asked for its traceback
        rest = f"\n\n(its traceback cannot be shown: {type(fault).__name__})"
    return bounded(line + visible(bounded(rest, limit)), limit)


def error_line(error: BaseException, *, place: str = "", limit: int = LINE_CHARS) -> str:
    """An error in one line: where in the job, what it is, and its causes.

    Args:
        error: What was raised.
        place: As of `error_text`.
        limit: Of the line, in characters.
    """
    return bounded(_chain_line(error, place=place), limit)


def head_of(text: str) -> str:
    """Of a text made by `error_text` what fits a screen: the first line and the frames of user code."""
    return text.partition("\n\n")[0].rstrip()


def first_line_of(text: str) -> str:
    """The first line of a text, which says what happened."""
    return text.lstrip().partition("\n")[0].rstrip()


def visible(text: str) -> str:
    """Text with control characters and half surrogate pairs as escapes; line feeds and tabs stay."""
    return _UNSHOWN.sub(_escape, text)


def one_line(text: str) -> str:
    """Text as one line that can be shown: its line breaks become `; `, the rest is as of `visible`."""
    lines = [line for each in text.splitlines() if (line := each.strip())]
    joined = "".join(line + (" " if line.endswith((":", ";", ",", ".")) else "; ") for line in lines[:-1])
    return visible(joined + lines[-1]) if lines else ""


def bounded(text: str, limit: int) -> str:
    """Text of so many characters at most; of a longer one the start and the end, and how much is missing."""
    if len(text) <= limit:
        return text
    kept = max(limit - _CUT_CHARS, 0)
    tail = kept // 3
    gap = "\n" if "\n" in text else " "
    words = f"{gap}... ({len(text) - kept:,} characters left out) ...{gap}"
    return text[: kept - tail] + words + text[len(text) - tail :]


# --- the line -----------------------------------------------------------------------------------


def _chain_line(error: BaseException, depth: int = 0, place: str = "") -> str:
    words: list[str] = []
    above: BaseException | None = None
    is_told = False
    for each in _causes(error):
        if is_told and above is not None and above.__cause__ is not each:
            break  # what was handled when something happened that the line tells in other words
        is_told = above is not None and _quotes(above, each)
        above = each
        if is_told:
            continue
        if len(words) == _CAUSES_SHOWN:
            return f"{', caused by '.join(words)}, and more"
        place = place or _noted(each, _PLACE)
        words.append(f"{one_line(place)}: {_message(each, depth)}" if place else _message(each, depth))
        place = ""
    return ", caused by ".join(words)


def _quotes(above: BaseException, cause: BaseException) -> bool:
    """Whether a message has that of its cause in it, which need not be said twice."""
    text, quoted = (bounded(_raw(each), _MESSAGE_CHARS * 4).strip() for each in (above, cause))
    if len(quoted) < _SENTENCE_CHARS:
        return False
    return quoted in text if _is_ours(above) else text.endswith(f": {quoted}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the outermost first; a ring is walked once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        if current.__cause__ is not None:
            current = current.__cause__
        else:
            current = None if current.__suppress_context__ else current.__context__


def _message(error: BaseException, depth: int) -> str:
    """`Type: message`; of an error that tsd raises on purpose the message alone, which says it in words."""
    raw = bounded(_raw(error), _MESSAGE_CHARS * 4)
    text = bounded(one_line(raw), _MESSAGE_CHARS)
    name = type(error).__name__
    words = text if text and _is_ours(error) else f"{name}: {text}" if text else name
    if isinstance(error, BaseExceptionGroup):
        words = f"{words}: {_members(error, depth)}"
    if hint := _HINTS.get((type(error).__module__, name)):
        words = f"{words}: {hint}"
    asides = [bounded(one_line(aside), _MESSAGE_CHARS) for aside in _asides(error)]
    return f"{words} ({'; '.join(asides)})" if asides else words


def _is_ours(error: BaseException) -> bool:
    """Whether it is of a class of tsd's own, whose messages are sentences."""
    return isinstance(error, TsdError) and type(error).__module__.startswith("tsd.")


def _raw(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 - a `__str__` of users
        return f"(its text cannot be shown, __str__ raised {type(fault).__name__})"


def _members(group: BaseExceptionGroup[BaseException], depth: int) -> str:
    if depth >= _NESTING:
        return "..."
    shown = [_chain_line(member, depth + 1) for member in group.exceptions[:_MEMBERS_SHOWN]]
    more = len(group.exceptions) - len(shown)
    return " | ".join([*shown, f"and {more:,} more"] if more else shown)


def _asides(error: BaseException) -> list[str]:
    """What stands behind a message: where exactly, and notes."""
    detail = _noted(error, _DETAIL)
    notes = getattr(error, "__notes__", None)
    texts = [note for note in notes if isinstance(note, str)] if isinstance(notes, list | tuple) else []
    return [text for text in (detail, *texts[:_MEMBERS_SHOWN]) if text]


def _noted(error: BaseException, name: str) -> str:
    try:
        value = vars(error).get(name, "")
    except Exception:  # noqa: BLE001 - as in `located`
        return ""
    return value if isinstance(value, str) else ""


# --- the frames ---------------------------------------------------------------------------------


@attrs.frozen
class _Told:
    """An error of the chain, with the frames of user code that it came by.

    Attributes:
        title: What stands above the frames; empty for the outermost error, which is in the first line.
        syntax: Where the code is that Python cannot read; empty when it is no such error.
    """

    title: str
    frames: list[traceback.FrameSummary]
    syntax: str


def _rest(error: BaseException) -> str:
    """What stands below the first line, with the line feed before it."""
    words = traceback.TracebackException.from_exception(error, compact=True)
    told = [each for each in _all_told(error, words) if each.frames or each.syntax]
    if not told and (_is_ours(error) or all(each.__traceback__ is None for each in _causes(error))):
        raw = bounded(_raw(error), TEXT_CHARS).strip()
        # A message of several lines was joined above.
        return f"\n\n{raw}" if "\n" in raw or len(raw) > _MESSAGE_CHARS else ""
    sections = "".join(
        f"\n{each.title}\n{_shown(each)}" if each.title else f"\n{_shown(each)}" for each in told
    )
    # Long messages are cut before it is put together.
    whole = "".join(bounded(part, TEXT_CHARS) for part in words.format()).rstrip()
    return f"{sections}\n\n{whole}"


def _all_told(error: BaseException, words: traceback.TracebackException | None) -> Iterator[_Told]:
    for index, each in enumerate(_causes(error)):
        if words is None or index > _CAUSES_SHOWN:
            return
        yield _told_of(each, words, "" if index == 0 else _title("caused by", each))
        if isinstance(each, BaseExceptionGroup):
            members = zip(each.exceptions, words.exceptions or (), strict=False)
            for member, its_words in itertools.islice(members, _MEMBERS_SHOWN):
                yield _told_of(member, its_words, _title("member", member))
        words = words.__cause__ or words.__context__


def _title(what: str, error: BaseException) -> str:
    return f"{what} {bounded(_message(error, _NESTING), _TITLE_CHARS)}"


def _told_of(error: BaseException, words: traceback.TracebackException, title: str) -> _Told:
    outside = [frame for frame in words.stack if not _is_of_runtime(frame.filename) and _has_code(frame)]
    of_users = [frame for frame in outside if not _INSTALLED.search(frame.filename)]
    syntax = ""
    if isinstance(error, SyntaxError) and error.filename and not _is_of_runtime(error.filename):
        code = (error.text or "").strip()
        syntax = f'  File "{error.filename}", line {error.lineno or 0}' + (f"\n    {code}" if code else "")
    # Operations may be installed as a package, as libraries are.
    return _Told(title, of_users or outside, syntax)


def _has_code(frame: traceback.FrameSummary) -> bool:
    """Whether there is a line to show: expressions in options of a job are compiled without a file."""
    return bool(frame.line) or not frame.filename.startswith("<")


def _is_of_runtime(file: str) -> bool:
    """Whether it is tsd, Python's own library, or what tsd runs on."""
    if file.startswith((_OWN, "<frozen ")) or _BETWEEN.search(file):
        return True
    return file.startswith(_PYTHON) and not _INSTALLED.search(file)


def _shown(told: _Told) -> str:
    frames = told.frames
    lines = [_frame(frame) for frame in frames]
    if len(lines) > _FRAMES_SHOWN:
        left_out = len(lines) - _FRAMES_SHOWN
        lines[2 : len(lines) - _FRAMES_SHOWN + 2] = [f"  ... ({left_out:,} frames left out) ..."]
    return "\n".join([*lines, told.syntax] if told.syntax else lines)


def _frame(frame: traceback.FrameSummary) -> str:
    code = bounded((frame.line or "").strip(), 200)
    shown = f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    return f"{shown}\n    {code}" if code else shown


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
