"""Operations for tests; the registry of the tests reads this module as it reads a user's."""

import threading
from collections import deque

import attrs
import trio

from tsd.operations import (
    Api,
    ApiConfig,
    ApiFactory,
    BatchProcessor,
    EachProcessor,
    Fatal,
    Fetcher,
    FilterProcessor,
    MapProcessor,
    NonRetryable,
    Observer,
    OpConfig,
    ParallelSlicer,
    Slicer,
    api,
    operation,
    opt,
    reader,
)

ERRORS = {"plain": RuntimeError, "fatal": Fatal, "final": NonRetryable}


class Unretryable(Exception):
    retryable = False


ERRORS["attribute"] = Unretryable


class ListSlicer(Slicer):
    """Hands out the entries of `slices`; the word `null` in it is None."""

    def initialize(self):
        self.results = deque(self.config.slices)

    def is_recoverable(self):
        return self.config.recoverable

    def slice(self):
        if not self.results:
            return None
        result = self.results.popleft()
        if result == "raise":
            raise RuntimeError("the slicer broke")
        return None if result == "null" else result


@attrs.define(kw_only=True)
class ListReaderConfig(OpConfig):
    slices: list = opt([], doc="what the slicer returns")
    recoverable: bool = opt(False, doc="answer of is_recoverable")


@reader("list_reader", config=ListReaderConfig, slicer=ListSlicer)
class ListFetcher(Fetcher):
    """Returns `request["records"]`, or raises as `request["raise"]` says; notes each request, then spoils it."""

    def initialize(self):
        self.seen = []

    def fetch(self, request):
        self.seen.append(dict(request))
        records = request.pop("records", None)
        request.clear()
        return records


@attrs.define(kw_only=True)
class TwoSlicersConfig(OpConfig):
    wanted: list = opt([0, 1, 2], doc="ids that get a function")
    counts: list = opt([2, 2, 2], doc="slices of each")
    is_async: bool = opt(False, doc="async functions; number 0 waits for an event in `gates`")


class SeveralSlicers(ParallelSlicer):
    def initialize(self):
        self.gate = None

    def new_slicer(self, slicer_id):
        if slicer_id not in self.config.wanted:
            return None
        left = list(range(self.config.counts[slicer_id]))

        def make():
            return {"slicer": slicer_id, "n": left.pop(0)} if left else None

        async def make_async():
            if slicer_id == 0:
                if self.gate is None:
                    self.gate = trio.Event()
                await self.gate.wait()
            return make()

        return make_async if self.config.is_async else make


@reader("several_slicers", config=TwoSlicersConfig, slicer=SeveralSlicers)
class NothingFetcher(Fetcher):
    def fetch(self, request):
        return None


@attrs.define(kw_only=True)
class BreakConfig(OpConfig):
    times: int = opt(1, doc="how many attempts fail")
    kind: str = opt("plain", choices=tuple(ERRORS), doc="what is raised")
    veto: bool = opt(False, doc="raise in on_slice_retry")


@operation("break", config=BreakConfig)
class Break(BatchProcessor):
    """Fails the first attempts."""

    def initialize(self):
        self.attempts = 0

    def on_batch(self, records):
        self.attempts += 1
        if self.attempts <= self.config.times:
            raise ERRORS[self.config.kind](f"attempt {self.attempts} broke")
        return records

    def on_slice_retry(self, slice_id):
        if self.config.veto:
            raise RuntimeError("no retry please")


@operation("first-of")
class FirstOf(BatchProcessor):
    """Takes the first record of a slice, as code does whose slices always have one."""

    def initialize(self):
        self.sizes = []

    def on_batch(self, records):
        self.sizes.append(len(records))
        return [records[0]]


@operation("break_completing", config=BreakConfig)
class BreakCompleting(EachProcessor):
    """Fails when the first attempts complete."""

    def initialize(self):
        self.attempts = self.config.times

    def each(self, record, index, batch):
        pass

    def on_slice_completing(self, slice_id):
        self.attempts += 1
        if self.attempts <= self.config.times:
            raise RuntimeError(f"completing {self.attempts} broke")


@attrs.define(kw_only=True)
class LogbookConfig(OpConfig):
    fail_in: str = opt("", doc="hook that raises")


@operation("logbook", config=LogbookConfig)
class Logbook(EachProcessor):
    """Notes every hook in `lines`."""

    def initialize(self):
        self.lines = []
        self.threads = {threading.get_ident()}

    def _note(self, name, *args):
        self.lines.append((name, *args))
        if self.config.fail_in == name:
            raise RuntimeError(f"{name} broke")

    def each(self, record, index, batch):
        self.threads.add(threading.get_ident())

    def on_slice_initialized(self, slice_id):
        self._note("initialized")

    def on_operation_start(self, slice_id, index):
        self._note("start", index)

    def on_operation_complete(self, slice_id, index, count, records):
        assert len(records) == count
        self._note("complete", index, count)

    def on_slice_started(self, slice_id):
        self._note("started")

    def on_slice_retry(self, slice_id):
        self._note("retry")

    def on_slice_completing(self, slice_id):
        self._note("completing")

    def on_slice_failed(self, slice_id):
        self._note("failed")

    def on_slice_finalizing(self, slice_id, outcome):
        self._note("finalizing", outcome)

    def on_slice_finished(self, slice_id):
        self._note("finished")

    def on_flush_start(self):
        self._note("flush_start")

    def on_flush_end(self):
        self._note("flush_end")

    def shutdown(self):
        self._note("shutdown")


@operation("upper")
class Upper(MapProcessor):
    """Doubles n; drops odd ones; rejects text."""

    def map(self, record, index, batch):
        if isinstance(record.get("n"), str):
            return self.reject(record, ValueError("n is text"))
        if record["n"] % 2:
            return None
        record["n"] *= 2
        return record


@operation("tries")
class Tries(MapProcessor):
    """Rejects what its own function raises."""

    def initialize(self):
        self.calls = 0
        self._double = self.try_record(self._call)

    def _call(self, record):
        self.calls += 1
        return {"n": record["n"] * 2.0}

    def map(self, record, index, batch):
        return self._double(record)


@operation("async_upper")
class AsyncUpper(MapProcessor):
    async def map(self, record, index, batch):
        await trio.lowlevel.checkpoint()
        return None if record["n"] % 2 else record


@operation("async_small")
class AsyncSmall(FilterProcessor):
    async def keep(self, record, index, batch):
        await trio.lowlevel.checkpoint()
        return record["n"] < 3


@operation("small")
class Small(FilterProcessor):
    def keep(self, record, index, batch):
        return record["n"] < 3


@attrs.define(kw_only=True)
class ReturnsConfig(OpConfig):
    value: object = opt(None, doc="what on_batch returns")


@operation("returns", config=ReturnsConfig)
class Returns(BatchProcessor):
    def on_batch(self, records):
        return self.config.value


@operation("needs_api")
class NeedsApi(BatchProcessor):
    def initialize(self):
        self.product = self.get_api()
        self.lines = list(self.product)

    def on_batch(self, records):
        return records


@api("lines")
class Lines(Api):
    """Its product is the list of what happened to it."""

    def initialize(self):
        self.log_lines = ["initialized"]

    def create(self, *params):
        self.log_lines.append("created")
        return self.log_lines


@operation("reject_then_break", config=BreakConfig)
class RejectThenBreak(BatchProcessor):
    """Rejects all records, and fails the first attempts that have some."""

    def initialize(self):
        self.attempts = 0

    def on_batch(self, records):
        for record in records:
            self.reject(record, "no")
        self.attempts += bool(records)
        if records and self.attempts <= self.config.times:
            raise RuntimeError("broken")
        return []


@api("sink")
class Sink(Api):
    """A dead-letter API: its product notes rejects."""

    def create(self, *params):
        self.taken = []

        def take(record, error):
            self.taken.append((dict(record), str(error)))

        return take


@api("factory")
class Factory(ApiFactory):
    def initialize(self):
        self.removed = []

    def create(self, name, overrides):
        return f"client {name}", dict(overrides)

    def remove(self, name):
        self.removed.append(name)


@attrs.define(kw_only=True)
class WatcherConfig(ApiConfig):
    mood: str = opt("calm", doc="nothing")


@api("watcher", config=WatcherConfig)
class Watcher(Observer):
    def initialize(self):
        self.slices = []

    def on_slice_initialized(self, slice_id):
        self.slices.append(slice_id)


@operation("cross_check")
class CrossCheck(BatchProcessor):
    @classmethod
    def check_job(cls, config, job):
        yield "wanted", f"the first has encoding {job['operations'][0]['_encoding']}"


@operation("remembers_its_loop")
class RemembersItsLoop(BatchProcessor):
    """Notes on which loop and in which thread its async methods run."""

    def _note(self, call):
        self.calls.append(call)
        self.tokens.add(trio.lowlevel.current_trio_token())
        self.threads.add(threading.get_ident())

    async def initialize(self):
        self.calls, self.tokens, self.threads = [], set(), set()
        self._note("initialize")

    async def on_batch(self, records):
        await trio.lowlevel.checkpoint()
        self._note("on_batch")
        return records

    async def on_slice_completing(self, slice_id):
        self._note("on_slice_completing")

    async def shutdown(self):
        self._note("shutdown")


@operation("fails_to_initialize")
class FailsToInitialize(BatchProcessor):
    def initialize(self):
        raise LookupError("no such table")


@api("slice_watcher")
class SliceWatcher(Observer):
    """Notes the hooks of the controller."""

    def initialize(self):
        self.lines = []

    def on_slice_enqueued(self, slice_):
        self.lines.append(("enqueued", slice_.slicer_order))

    def on_slice_dispatch(self, slice_):
        self.lines.append(("dispatched", slice_.slicer_order))

    def on_slice_complete(self, slice_, outcome):
        self.lines.append(("completed", slice_.slicer_order, outcome.state))


@operation("with_metadata")
class WithMetadata(EachProcessor):
    """Takes the field `meta` of each record as its metadata."""

    def each(self, record, index, batch):
        for name, value in record.pop("meta", {}).items():
            record.set_metadata(name, value)
