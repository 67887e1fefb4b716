"""A slow and lossy wire: carries the frames between two interfaces late, and drops some.

    python -m tests.support.relay IF_A IF_B --delay-ms 200 --loss 0.01 --seed 1

Neither interface may be part of a bridge: whatever arrives at one leaves at the other, and nothing else.
"""

import argparse
import heapq
import itertools
import random
import selectors
import socket
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL = 3
LARGEST_B = 10 + 18 + 65_536
"""A virtio header, an Ethernet header, and the largest segment that a virtual interface hands on in one piece."""


def open_interface(name: str) -> socket.socket:
    """All that arrives there, with the headers that say which checksums are still to be made."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    opened.bind((name, ETH_P_ALL))
    opened.setblocking(False)
    return opened


def relay(one: str, other: str, *, delay_s: float, loss: float, seed: int) -> None:
    """Carry frames until the process ends; each direction keeps its order."""
    rng = random.Random(seed)
    ends = [open_interface(one), open_interface(other)]
    on_the_way: list[tuple[float, int, socket.socket, bytes]] = []
    numbers = itertools.count()
    with selectors.DefaultSelector() as selector:
        for end, far_end in (ends, reversed(ends)):
            selector.register(end, selectors.EVENT_READ, far_end)
        print("relaying", flush=True)
        while True:
            wait_s = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
            for key, _ in selector.select(wait_s):
                frame = key.fileobj.recv(LARGEST_B)
                if rng.random() >= loss:
                    heapq.heappush(on_the_way, (time.monotonic() + delay_s, next(numbers), key.data, frame))
            while on_the_way and on_the_way[0][0] <= time.monotonic():
                _, _, end, frame = heapq.heappop(on_the_way)
                try:
                    end.send(frame)
                except OSError:  # the cable is out, or its queue is full: a wire tells nobody either
                    continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interfaces", nargs=2)
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("--loss", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    relay(*given.interfaces, delay_s=given.delay_ms / 1000, loss=given.loss, seed=given.seed)
