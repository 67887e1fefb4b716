"""Operations that do their worst, at the place and in the way that the job says.

Slices are numbered from 1; in a slice it is done in that of number 3. `folder` gets a line in `runs` each time a
slice runs, and a file in `out` for each record that comes to the end of the chain.
"""

import ctypes
import datetime as dt
import decimal
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs

from tsd.operations import (
    Api,
    ApiConfig,
    BatchProcessor,
    Fatal,
    Fetcher,
    MapProcessor,
    OpConfig,
    Record,
    Slicer,
    api,
    operation,
    opt,
    reader,
)

BAD = 3
HELPER_S = 987


class OwnBase(BaseException):
    pass


def _raise(error):
    raise error


def _in_thread(act):
    """In a thread of the operation, which may come to it when the slice has just ended."""
    threading.Thread(target=act).start()


def _fork_and_return():
    os.fork()


def _fork_and_raise():
    if not os.fork():
        raise ValueError("the child does not leave either")


def _fork_and_exit():
    if not os.fork():
        sys.exit(0)


def _multiprocessing():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=queue.put, args=(7,))
    child.start()
    assert queue.get(timeout=20) == 7
    child.join(20)
    assert child.exitcode == 0
    idle = context.Process(target=time.sleep, args=(600,))
    idle.start()
    idle.terminate()
    idle.join(20)
    assert idle.exitcode == -signal.SIGTERM


_DAEMON = """
import os, signal, sys
if not os.fork():
    os.setsid()
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execvp("sleep", ["sleep", sys.argv[1]])
"""


def _daemonize():
    """A process in a session of its own, whose parents are gone."""
    subprocess.run([sys.executable, "-c", _DAEMON, str(HELPER_S)], check=True)


ACTS = {
    "": lambda: None,
    "exit 0": lambda: os._exit(0),
    "exit 3": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit(4),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sigalrm": lambda: os.kill(os.getpid(), signal.SIGALRM),
    "sigstop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "keyboard": lambda: _raise(KeyboardInterrupt),
    "base": lambda: _raise(OwnBase("of my own")),
    "memory": lambda: _raise(MemoryError),
    "close all": lambda: os.closerange(3, 2000),
    "surrogate": lambda: _raise(ValueError("the file " + os.fsdecode(b"caf\xe9.txt"))),
    "huge text": lambda: _raise(ValueError("x" * 30_000_000)),
    "fatal": lambda: _raise(Fatal("caf\udce9 ends this worker")),
    "exit 3 in a thread": lambda: _in_thread(lambda: os._exit(3)),
    "fork, return": _fork_and_return,
    "fork, raise": _fork_and_raise,
    "fork, sys.exit": _fork_and_exit,
    "multiprocessing": _multiprocessing,
    "daemonize": _daemonize,
    "helper": lambda: subprocess.Popen(["sleep", str(HELPER_S)], start_new_session=True),
}

REQUESTS = {
    "nan": lambda: {"x": float("nan")},
    "bytes": lambda: {"x": b"abc"},
    "set": lambda: {"x": [{1}]},
    "tuple": lambda: {"x": (1, 2)},
    "date": lambda: {"x": dt.date(2024, 1, 2)},
    "decimal": lambda: {"x": decimal.Decimal(1)},
    "path": lambda: {"x": Path("/x")},
    "key": lambda: {"x": {1: 2}},
    "lone": lambda: {"x": "caf\udce9"},
    "20 MB": lambda: {"x": "a" * 20_000_000},
    "16 MB": lambda: {"x": "é" * 8_000_000},
    "huge number": lambda: {"x": 2**70},
}


@attrs.define(kw_only=True)
class HostileConfig(OpConfig):
    act: str = opt("", doc="what to do")
    where: str = opt("slice", doc="where to do it")
    folder: str = opt("", doc="where to tell what was done")

    def at(self, where, number=BAD):
        """Do it here, if it is to be done here."""
        if self.where == where and number == BAD:
            ACTS.get(self.act, ACTS[""])()


@attrs.define(kw_only=True)
class HostileApiConfig(ApiConfig):
    act: str = opt("", doc="what to do")


class HostileSlicer(Slicer):
    def initialize(self):
        self.number = 0
        self.config.at("slicer.initialize")

    def slice(self):
        self.number += 1
        if self.number > 6:
            return None
        self.config.at("slicer", self.number)
        extra = REQUESTS.get(self.config.act) if self.number == BAD else None
        return {"number": self.number, **(extra() if extra else {})}


@reader("hostile-count", slicer=HostileSlicer, config=HostileConfig)
class HostileFetcher(Fetcher):
    def initialize(self):
        self.config.at("fetcher.initialize")

    def fetch(self, request):
        self.config.at("fetcher", request["number"])
        if self.config.act in REQUESTS and request["number"] == BAD:
            assert request == {"number": BAD, **REQUESTS[self.config.act]()}
        return [Record(number=request["number"])]


@operation("hostile", config=HostileConfig)
class Hostile(BatchProcessor):
    def initialize(self):
        self.config.at("initialize")

    def on_batch(self, records):
        if not records:
            return records
        number = records[0]["number"]
        with Path(self.config.folder, "runs").open("a") as runs:
            runs.write(f"{number}\n")
        self.number = number
        self.config.at("slice", number)
        return records

    def on_slice_finalizing(self, slice_id, outcome):
        self.config.at("hook", getattr(self, "number", 0))

    def on_slice_finished(self, slice_id):
        if self.config.where == "finished" and not Path(self.config.folder, "done").exists():
            Path(self.config.folder, "done").touch()
            self.config.at("finished")

    def shutdown(self):
        self.config.at("shutdown")


@operation("hostile-async", config=HostileConfig)
class HostileAsync(MapProcessor):
    async def map(self, record, index, records):
        self.config.at("slice", record["number"])
        return record


@operation("hostile-out", config=HostileConfig)
class Out(BatchProcessor):
    def on_batch(self, records):
        for record in records:
            with Path(self.config.folder, "out").open("a") as out:
                out.write(f"{record['number']}\n")
        return records


@api("hostile-api", config=HostileApiConfig)
class HostileApi(Api):
    def initialize(self):
        ACTS[self.config.act]()

    def create(self, *params):
        return None
