"""What the fields of messages may be: types with a range, which the codec checks while it decodes.

A peer can be broken, of another version, or hostile. What a message says may be wrong, but it is never of a
kind or a size that the code behind the codec can not take: an id has the form of an id, a number fits
into a column of the store, a duration is a number. The checks are msgspec's own (`Meta`), in C, because
messages with thousands of slices pass through them. They hold for what is decoded only; what this process
makes itself has to fit by construction, or its peers drop it.
"""

import json
import re
from typing import Annotated, Final

from msgspec import Meta

from tsd.ids import PROCESS_ID_FORM

NUMBER_MAX: Final = 2**53
"""Of everything that is counted: exact in JSON and in a float, and it fits into a column of the store."""
ORDER_MAX: Final = NUMBER_MAX // 2
"""Of a slice that is recorded; no slicer ever comes that far."""
REVISION_FAR: Final = 2**52
"""No clock gives such a revision; nobody goes on counting from one that a peer tells."""
SECONDS_MAX: Final = 1e13
"""Of durations and moments: more than the settings allow (`tsd.durations.MS_MAX`) after any uptime."""
ID_CHARS_MAX: Final = 100
NAME_CHARS_MAX: Final = 255
"""Of names of hosts and nodes, which DNS keeps shorter."""
REASON_CHARS_MAX: Final = 4_000_000
"""Of a reason: the text of an exception of user code, and what it quotes."""
LIST_MAX: Final = 1_000_000
"""Of slices, rows and results in one message; senders stay far below."""
PROCESSES_MAX: Final = 100_000
"""Of processes that one message lists."""

_ODD = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What no name may contain: control characters, what turns the direction of writing, lone surrogates."""
_PORT_FORM = r"0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4})"
_ADDRESS_FORM = rf"tcp://[^\s/{_ODD}]+:{_PORT_FORM}"

Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
"""Something that is counted, from 0."""
Order = Annotated[int, Meta(ge=0, le=ORDER_MAX)]
"""Of a slice that is recorded; its slicer goes on counting from there."""
Signed = Annotated[int, Meta(ge=-(2**62), le=2**62)]
"""A sum of numbers that came and went."""
Revision = Annotated[int, Meta(ge=-1, lt=NUMBER_MAX)]
"""Milliseconds of Unix time or a little more; -1 is "none yet"."""
Milliseconds = Annotated[int, Meta(ge=-62_135_596_800_000, le=253_402_300_799_999)]
"""A moment of Unix time in the years 1 to 9999; before 1970 where a clock is set wrong."""
Pid = Annotated[int, Meta(ge=0, le=2**32)]
Slots = Annotated[int, Meta(ge=0, le=PROCESSES_MAX)]
"""Of a node."""
Seconds = Annotated[float, Meta(ge=0.0, le=SECONDS_MAX)]
"""A duration; neither infinite nor NaN."""
Grace = Annotated[float, Meta(ge=0.0)]
"""A duration that may be infinite."""
BeatSeconds = Annotated[float, Meta(ge=0.001, le=SECONDS_MAX)]
"""Between beats; never so little that a process would do nothing else."""
Moment = Annotated[float, Meta(ge=-SECONDS_MAX, le=SECONDS_MAX)]
"""Seconds on the clock of the sender."""

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARS_MAX, pattern=rf"\A[^/\s{_ODD}]+\Z")]
"""Of an execution, a job or a bundle: part of process ids and of paths."""
ProcId = Annotated[str, Meta(max_length=NAME_CHARS_MAX, pattern=rf"\A{PROCESS_ID_FORM}\Z")]
"""See `tsd.ids.ProcessId`."""
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX, pattern=rf"\A[^{_ODD}]*\Z")]
"""Something with a name that is shown to people."""
Text = Annotated[str, Meta(max_length=10_000, pattern=rf"\A[^{_ODD}]*\Z")]
"""One line of text that people wrote."""
Address = Annotated[str, Meta(max_length=2 * NAME_CHARS_MAX, pattern=rf"\A{_ADDRESS_FORM}\Z")]
"""`tcp://host:port`."""
Dial = Annotated[str, Meta(max_length=2 * NAME_CHARS_MAX, pattern=rf"\A(?:{_ADDRESS_FORM})?\Z")]
"""An `Address`, or empty."""
Reason = Annotated[str, Meta(max_length=REASON_CHARS_MAX)]
Detail = Annotated[str, Meta(max_length=100_000)]
"""The last words of a process."""
Level = Annotated[str, Meta(pattern=r"\A(trace|debug|info|warn|error|fatal)\Z")]
"""Of the log."""
Mode = Annotated[str, Meta(pattern=r"\A(none|all|errors|pending|autorecover)?\Z")]
"""A `RecoveryMode` word, or empty."""

METADATA_B_MAX: Final = 16 * 1024
"""Of the metadata of an execution as JSON: it travels with each beat of its controller."""
METADATA_DEPTH_MAX: Final = 64
"""Of objects and lists in one another; deeper ones can not be read everywhere."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def metadata_fault(text: str) -> str:
    """What is wrong with the metadata of an execution as JSON text; empty when nothing is."""
    if len(text) > METADATA_B_MAX:
        return f"may have {METADATA_B_MAX} characters of JSON, not {len(text)}"
    if json_depth(text) > METADATA_DEPTH_MAX:
        return f"may have {METADATA_DEPTH_MAX} objects and lists in one another"
    try:
        is_object = isinstance(json.loads(text or "{}", parse_constant=_refuse_constant), dict)
    except ValueError as error:
        return f"must be JSON: {error}"
    return "" if is_object else "must be a JSON object"


def json_depth(text: str) -> int:
    """How many objects and lists stand in one another in JSON text, at most."""
    deepest = depth = 0
    for match in _BRACKETS.finditer(text):
        bracket = match.group()
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")
