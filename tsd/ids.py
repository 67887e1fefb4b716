"""Ids: what they look like and how a slice gets one that never changes."""

import hashlib
import re
import uuid
from typing import Final, NewType

import attrs

JobId = NewType("JobId", str)
"""A uuid, made when a job is posted."""
ExecutionId = NewType("ExecutionId", str)
"""A uuid, made when an execution is created."""
NodeId = NewType("NodeId", str)
"""The name of a node in its cluster: its host name unless set."""
ProcessId = NewType("ProcessId", str)
"""One start of one process: `<ex_id>/<generation>/c` or `<ex_id>/<generation>/w<number>.<start>`.

Never used twice, so that a late word about an earlier start can not be taken for the present one.
"""


def new_id() -> str:
    """A random uuid for a job or an execution."""
    return str(uuid.uuid4())


def slice_id(ex_id: str, slicer_id: int, slicer_order: int) -> str:
    """The id of the `slicer_order`-th slice of a slicer in an execution.

    The id follows from where the slice stands, so a slice that a restarted controller makes again
    has the id it had before, and sinks that are idempotent by slice id stay so even for slices that
    were handed out but not yet recorded. The bytes are a BLAKE2b hash in the form of a uuid v4
    (RFC 9562), which is what clients expect. See docs/adr/0002-slice-ids.md.
    """
    digest = hashlib.blake2b(f"{ex_id}/{slicer_id}/{slicer_order}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


# --- processes ---------------------------------------------------------------------------------

_EX_ID = r"[^/\s\x00-\x1f\x7f-\x9f]{1,100}"
_NUMBER = r"[0-9]{1,15}"  # few enough digits for whatever reads it
PROCESS_ID_FORM: Final = rf"{_EX_ID}/{_NUMBER}/(?:c|w{_NUMBER}\.{_NUMBER})"
"""Regular expression of a `ProcessId`."""
_PROCESS_ID = re.compile(rf"({_EX_ID})/({_NUMBER})/(?:c|w({_NUMBER})\.({_NUMBER}))")


@attrs.frozen(kw_only=True)
class ProcessName:
    """The parts of a process id; number 0 is the controller."""

    ex_id: str
    generation: int
    number: int
    start: int


def controller_id(ex_id: str, generation: int) -> str:
    """The process id of the controller of a generation; also its identity on the mesh."""
    return f"{ex_id}/{generation}/c"


def worker_id(ex_id: str, generation: int, number: int, start: int) -> str:
    """The process id of one start of worker `number` of a generation."""
    return f"{ex_id}/{generation}/w{number}.{start}"


def parse_process_id(proc_id: str) -> ProcessName | None:
    """The parts of a process id, or None when it is none."""
    match = _PROCESS_ID.fullmatch(proc_id)
    if match is None:
        return None
    ex_id, generation, number, start = match.groups()
    return ProcessName(
        ex_id=ex_id, generation=int(generation), number=int(number or 0), start=int(start or 0)
    )
