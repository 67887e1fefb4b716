"""What the links of a process have counted, in the form in which it tells others."""

from tsd.core.counts import MeshCounts
from tsd.mesh.endpoint import Dialer, Listener


def counts_of(*endpoints: Dialer | Listener, reconnects: int = 0) -> MeshCounts:
    """The counts of all endpoints of a process together; `reconnects` is what its machine knows."""
    statistics = [endpoint.statistics() for endpoint in endpoints]
    return MeshCounts(
        messages_in=sum(each.frames_in for each in statistics),
        messages_out=sum(each.frames_out for each in statistics),
        bytes_in=sum(each.bytes_in for each in statistics),
        bytes_out=sum(each.bytes_out for each in statistics),
        bad_frames=sum(each.bad_frames + each.nameless for each in statistics),
        unreachable=sum(each.unreachable for each in statistics),
        full=sum(each.full for each in statistics),
        dropped=sum(each.dropped for each in statistics),
        reconnects=reconnects,
        queued=sum(each.queued for each in statistics),
    )
