"""How quickly a link notices that the other side is gone, as a function of the settings."""

from tsd.core.messages import LINK_SILENCE_BEATS
from tsd.mesh.endpoint import MeshOptions
from tsd.settings import Settings

PING_TIMEOUT_MIN_S = 1.0
"""A host that is merely short of processor time answers a ping within that, whatever the beat."""


def mesh_options(settings: Settings) -> MeshOptions:
    """Ping once a beat; without an answer for as many beats as dialers wait for a word, the link is down.

    So a peer that is frozen or cut off is unreachable one `heartbeat_interval` and
    the larger of three such intervals and one second after its last answer. One that ends is so at once,
    because its kernel says it.
    """
    beat_s = settings.tsd.heartbeat_interval_s
    return MeshOptions(
        heartbeat_interval_s=beat_s,
        heartbeat_timeout_s=max(LINK_SILENCE_BEATS * beat_s, PING_TIMEOUT_MIN_S),
    )
