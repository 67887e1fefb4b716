"""Operations for tests of processes: kind ones, and all sorts of unkind ones."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import attrs
import trio

from tsd.errors import Fatal
from tsd.operations.base import BatchProcessor, EachProcessor, Fetcher, operation, reader
from tsd.operations.config import OpConfig, opt
from tsd.operations.slicers import ParallelSlicer, Slicer


@attrs.define(kw_only=True)
class CountConfig(OpConfig):
    size: int = opt(10, doc="how many slices to make")
    stuck_at: int = opt(-1, doc="number of the slice before which the slicer never returns")
    raise_at: int = opt(-1, doc="number of the slice in place of which it raises")
    nonsense_at: int = opt(-1, doc="number of the slice in place of which it returns nonsense")
    can_recover: bool = opt(True, doc="whether it goes on where it was")


class CountSlicer(Slicer):
    def initialize(self):
        last = self.last_slice()
        self.next = 0 if last is None else last["number"] + 1

    def is_recoverable(self):
        return self.config.can_recover

    def slice(self):
        number, self.next = self.next, self.next + 1
        if number == self.config.stuck_at:
            time.sleep(600)
        if number == self.config.raise_at:
            raise RuntimeError(f"no slice number {number}")
        if number == self.config.nonsense_at:
            return object()
        return {"number": number} if number < self.config.size else None


@reader("count", slicer=CountSlicer, config=CountConfig)
class CountFetcher(Fetcher):
    def fetch(self, request):
        return [{"number": request["number"]}]


@attrs.define(kw_only=True)
class AtConfig(OpConfig):
    at: list[int] = opt([], doc="numbers of the slices at which to act; all when empty")
    seconds: float = opt(0.0, doc="how long")
    file: str = opt("", doc="a file to write to")
    times: int = opt(1_000_000, doc="act at most so many times, counted in the file")
    how: str = opt("", doc="what to do")


class _Acting(EachProcessor):
    def each(self, record, index, batch):
        if not self.config.at or record["number"] in self.config.at:
            self.act(record["number"])


@operation("witness", config=AtConfig)
class Witness(_Acting):
    """Writes down each number with the process that saw it."""

    def act(self, number):
        with open(self.config.file, "a") as file:
            file.write(f"{number} {os.getpid()}\n")


@operation("sleeper", config=AtConfig)
class Sleeper(_Acting):
    def act(self, number):
        time.sleep(self.config.seconds)


@operation("waiter", config=AtConfig)
class Waiter(_Acting):
    """Waits as operations should, so that a stop can cut it short."""

    def act(self, number):
        self.ctx.sleep(self.config.seconds)


@operation("hog", config=AtConfig)
class Hog(_Acting):
    """Holds the interpreter, so that no other thread of the process runs."""

    def act(self, number):
        ctypes.PyDLL(None).usleep(int(self.config.seconds * 1e6))


@operation("killer", config=AtConfig)
class Killer(_Acting):
    """Ends its process in one of several ways, a limited number of times."""

    def act(self, number):
        deaths = Path(self.config.file)
        count = len(deaths.read_text()) if deaths.exists() else 0
        if count >= self.config.times:
            return
        with deaths.open("a") as file:
            file.write(".")
        match self.config.how:
            case "exit":
                sys.exit(3)
            case "segfault":
                ctypes.string_at(0)
            case _:
                os.kill(os.getpid(), signal.SIGKILL)


@operation("raiser", config=AtConfig)
class Raiser(_Acting):
    def act(self, number):
        if self.config.how == "fatal":
            raise Fatal(f"can not go on at {number}")
        raise ValueError(f"bad number {number}")


@operation("unready", config=AtConfig)
class Unready(BatchProcessor):
    def initialize(self):
        raise RuntimeError("this operation is never ready")


@operation("slow-start", config=AtConfig)
class SlowStart(BatchProcessor):
    """Says in the file that it initializes, and takes its time."""

    def initialize(self):
        Path(self.config.file).touch()
        (self.ctx.sleep if self.config.how == "kindly" else time.sleep)(self.config.seconds)

    def on_batch(self, records):
        return records


@operation("async-pass", config=AtConfig)
class AsyncPass(BatchProcessor):
    async def on_batch(self, records):
        await trio.sleep(self.config.seconds)
        return records


@operation("hoarder", config=AtConfig)
class Hoarder(BatchProcessor):
    """Keeps everything until it is flushed, then writes how many there were, which takes a while."""

    def initialize(self):
        self.kept = []
        self.is_flushing = False

    def on_flush_start(self):
        self.is_flushing = True

    def on_batch(self, records):
        self.kept += records
        if self.is_flushing:
            time.sleep(self.config.seconds)
            with open(self.config.file, "a") as file:
                file.write(f"{len(self.kept)}\n")
        return []


@operation("babbler", config=AtConfig)
class Babbler(BatchProcessor):
    """Returns what no operation should."""

    def on_batch(self, records):
        if self.config.at and not {record["number"] for record in records} & set(self.config.at):
            return records
        match self.config.how:
            case "nothing":
                return None
            case "a number":
                return 7
            case "text":
                return "records"
            case _:
                return [object()]


@attrs.define(kw_only=True)
class FetchConfig(CountConfig):
    how: str = opt("", doc="what the fetcher does at its slice 1")


@reader("fetch-badly", slicer=CountSlicer, config=FetchConfig)
class FetchBadly(Fetcher):
    def fetch(self, request):
        if request["number"] == 1:
            match self.config.how:
                case "raise":
                    raise OSError("the source is gone")
                case "nothing":
                    return None
                case "a number":
                    return 7
                case "never return":
                    time.sleep(600)
                case "hold the interpreter":
                    ctypes.PyDLL(None).usleep(600_000_000)
        return [{"number": request["number"]}]


@attrs.define(kw_only=True)
class ManyConfig(OpConfig):
    size: int = opt(10, doc="how many slices each slicer makes")


class ManySlicer(ParallelSlicer):
    """Slicer s makes 1000 s, 1000 s + 1, ...; each goes on where it was."""

    def new_slicer(self, slicer_id):
        first = 1000 * slicer_id
        last = self.last_slice(slicer_id)
        numbers = iter(range(first if last is None else last["number"] + 1, first + self.config.size))

        def make():
            number = next(numbers, None)
            return None if number is None else {"number": number}

        return make

    def is_recoverable(self):
        return True


@reader("count-many", slicer=ManySlicer, config=ManyConfig)
class CountManyFetcher(Fetcher):
    def fetch(self, request):
        return [{"number": request["number"]}]


@operation("hook_writer", config=AtConfig)
class HookWriter(BatchProcessor):
    """Writes a line into a file for each hook, with the slice that it is of; its batches run on the loop."""

    def _write(self, slice_id, *words):
        with open(self.config.file, "a") as file:
            file.write(" ".join(map(str, (slice_id, *words))) + "\n")

    async def on_batch(self, records):
        await trio.lowlevel.checkpoint()
        return records

    def on_slice_initialized(self, slice_id):
        self._write(slice_id, "initialized")

    def on_operation_start(self, slice_id, index):
        self._write(slice_id, "start", index)

    def on_operation_complete(self, slice_id, index, count, records):
        self._write(slice_id, "complete", index, count)

    def on_slice_started(self, slice_id):
        self._write(slice_id, "started")

    def on_slice_retry(self, slice_id):
        self._write(slice_id, "retry")

    def on_slice_completing(self, slice_id):
        self._write(slice_id, "completing")

    def on_slice_failed(self, slice_id):
        self._write(slice_id, "failed")

    async def on_slice_finalizing(self, slice_id, outcome):
        self._write(slice_id, "finalizing", outcome)

    def on_slice_finished(self, slice_id):
        self._write(slice_id, "finished")

    def on_flush_start(self):
        self._write("flush", "flush_start")

    def on_flush_end(self):
        self._write("flush", "flush_end")

    def shutdown(self):
        self._write("process", "shutdown")


class NotingSlicer(CountSlicer):
    """Keeps in the metadata how far it is, and which errors it got for what can not be kept."""

    def initialize(self):
        super().initialize()
        self.ctx.set_metadata("begun", self.ctx.get_metadata("begun"))

    def slice(self):
        request = super().slice()
        if request is None:
            refusals = []
            for value in (object(), "x" * 20_000):
                try:
                    self.ctx.set_metadata("bad", value)
                except ValueError as error:
                    refusals.append(str(error)[:40])
            self.ctx.set_metadata("refusals", refusals)
        else:
            self.ctx.set_metadata("number", request["number"])
        return request


@reader("noting-count", slicer=NotingSlicer, config=CountConfig)
class NotingFetcher(CountFetcher):
    pass
