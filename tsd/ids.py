"""Ids: what they look like and how a slice gets one that never changes."""

import hashlib
import uuid
from typing import NewType

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
