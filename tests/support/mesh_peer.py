"""A peer in a process of its own, for tests that kill it, freeze it or keep it busy.

Run as `python -m tests.support.mesh_peer ADDRESS IDENTITY HEARTBEAT_S`. It says `ready`, then does what the
notes that it gets say: `hold` holds the interpreter for n milliseconds and sets the count of
probes back, `count` answers with that count, `leave` ends the process. Anything else is a probe.
"""

import ctypes
import signal
import sys

import trio

from tests.support.mesh import CODEC, Note
from tsd.mesh.endpoint import MeshOptions
from tsd.mesh.socket import dial_tcp

PR_SET_PDEATHSIG = 1


def hold_interpreter(milliseconds):
    """Keep every other Python thread and task of this process from running, as a long C call does."""
    ctypes.PyDLL(None).usleep(milliseconds * 1000)


def options(heartbeat_s):
    return MeshOptions(
        heartbeat_interval_s=heartbeat_s, heartbeat_timeout_s=3 * heartbeat_s, kernel_buffer_b=65536
    )


async def main(address, identity, heartbeat_s):
    probes = 0
    async with dial_tcp(address, identity=identity, codec=CODEC, options=options(heartbeat_s)) as dialer:
        dialer.send(Note(n=0, text="ready"))
        while True:
            for note in await dialer.receive():
                match note.text:
                    case "hold":
                        hold_interpreter(note.n)
                        probes = 0
                    case "count":
                        dialer.send(Note(n=probes, text="counted"))
                    case "leave":
                        return
                    case _:
                        probes += 1


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
