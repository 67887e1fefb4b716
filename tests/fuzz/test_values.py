"""What the generators make is what the codec lets through: else they would prove nothing."""

from random import Random

import pytest

from tests.fuzz.values import draw
from tsd.core.kinds import KINDS
from tsd.errors import RemoteWireError
from tsd.mesh.codec import Codec

CODEC = Codec(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_most_of_what_is_drawn_can_be_read(kind):
    rng = Random(kind)
    read = 0
    for _ in range(200):
        frames = CODEC.encode(draw(KINDS[kind], rng, {}))
        try:
            CODEC.decode(frames)
        except RemoteWireError:
            continue
        read += 1

    assert read > 100
