"""Turning an operation into a plain function from records to records, once, when the pipeline is built."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from tsd.errors import NonRetryable, OperationError
from tsd.operations.base import (
    BatchProcessor,
    Component,
    EachProcessor,
    Fetcher,
    FilterProcessor,
    MapProcessor,
)
from tsd.operations.context import OpContext
from tsd.operations.record import Record

Step = Callable[[list[Record]], list[Record]]
_RECORDS_ONLY = frozenset({Record})


def as_records(result: Any, name: str) -> list[Record]:
    """The records that an operation returned.

    Args:
        result: A list (or other iterable) of records and dictionaries, one of them, or None for none.
        name: Name of the operation, for the error.

    Raises:
        NonRetryable: It returned something else, as it will again.
    """
    if type(result) is list:
        if _RECORDS_ONLY.issuperset(map(type, result)):
            return result
        return _make_many(result, name)
    if result is None:
        return []
    if isinstance(result, Mapping):
        return [Record.make(result)]
    if isinstance(result, Iterable) and not isinstance(result, str | bytes | bytearray):
        return _make_many(result, name)
    if inspect.iscoroutine(result):
        _refuse([result], name)
    raise NonRetryable(f"{name} returned {type(result).__name__}, not records")


def _make_many(values: Iterable[Any], name: str) -> list[Record]:
    try:
        return Record.make_many(values)
    except TypeError as error:
        raise NonRetryable(f"{name} returned something that is no record: {error}") from error


def bind_fetch(fetcher: Fetcher, ctx: OpContext) -> Callable[[Any], list[Record]]:
    """The fetcher as a function from a request to records."""
    fetch, name = _in_thread(fetcher.fetch, ctx), fetcher.name
    return lambda request: as_records(fetch(request), name)


def bind_step(processor: Component, ctx: OpContext) -> Step:
    """The processor as a function from records to records.

    Raises:
        OperationError: The class derives from none of the processor classes.
    """
    match processor:
        case BatchProcessor():
            return _batch_step(processor, ctx)
        case MapProcessor():
            return _map_step(processor, ctx)
        case FilterProcessor():
            return _filter_step(processor, ctx)
        case EachProcessor():
            return _each_step(processor, ctx)
    raise OperationError(f"{processor.name} derives from no kind of processor")


def record_in_work(error: BaseException) -> str:
    """Which record of its batch an operation had in work when it raised, as `record 3 of 10`.

    Read off the frames that the error came by, so that nothing is noted while all goes well.

    Returns:
        The words; empty when the operation takes its records all at once.
    """
    found = ""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_filename == __file__:
            seen = frame.f_locals
            index, records = seen.get("i"), seen.get("records")
            if isinstance(index, int) and isinstance(records, list):
                found = f"record {index + 1:,} of {len(records):,}"
        trace = trace.tb_next
    return found


def _in_thread(method: Callable[..., Any], ctx: OpContext) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):
        return lambda *args: ctx.run_async(method, *args)
    return method


def _batch_step(processor: BatchProcessor, ctx: OpContext) -> Step:
    on_batch, name = _in_thread(processor.on_batch, ctx), processor.name
    return lambda records: as_records(on_batch(records), name)


def _map_step(processor: MapProcessor, ctx: OpContext) -> Step:
    method, name = processor.map, processor.name
    if inspect.iscoroutinefunction(method):

        async def map_all(records: list[Record]) -> list[Any]:
            results = [await method(record, i, records) for i, record in enumerate(records)]
            return [result for result in results if result is not None]

        return lambda records: as_records(ctx.run_async(map_all, records), name)

    def step(records: list[Record]) -> list[Record]:
        results = [method(record, i, records) for i, record in enumerate(records)]
        if results and inspect.iscoroutine(results[0]):
            _refuse(results, name)
        return as_records([result for result in results if result is not None], name)

    return step


def _filter_step(processor: FilterProcessor, ctx: OpContext) -> Step:
    keep = processor.keep
    if inspect.iscoroutinefunction(keep):

        async def keep_some(records: list[Record]) -> list[Record]:
            return [record for i, record in enumerate(records) if await keep(record, i, records)]

        return lambda records: ctx.run_async(keep_some, records)
    name = processor.name

    def step(records: list[Record]) -> list[Record]:
        verdicts = [keep(record, i, records) for i, record in enumerate(records)]
        if verdicts and inspect.iscoroutine(verdicts[0]):
            _refuse(verdicts, name)
        return list(itertools.compress(records, verdicts))

    return step


def _each_step(processor: EachProcessor, ctx: OpContext) -> Step:
    each, name = processor.each, processor.name
    if inspect.iscoroutinefunction(each):

        async def look(records: list[Record]) -> None:
            for i, record in enumerate(records):
                await each(record, i, records)

        def look_async(records: list[Record]) -> list[Record]:
            ctx.run_async(look, records)
            return records

        return look_async

    def step(records: list[Record]) -> list[Record]:
        for i, record in enumerate(records):
            result = each(record, i, records)
            if result is not None and inspect.iscoroutine(result):
                _refuse([result], name)
        return records

    return step


def _refuse(results: Iterable[Any], name: str) -> NoReturn:
    """Refuse coroutines of a plain method, such as a decorated one; a coroutine is true, and does nothing."""
    for result in results:
        if inspect.iscoroutine(result):
            result.close()
    raise NonRetryable(f"{name} returned a coroutine: declare the method with async def")
