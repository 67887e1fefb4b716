"""Base classes of operations, and how a class becomes one.

Any method may be `def` or `async def`. Plain ones all run in the one operation thread of their process;
async ones run on its trio loop. A process runs one slice at a time, so an operation never sees two calls
at once.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

import attrs
from typing_extensions import override

from tsd.errors import NonRetryable, OperationError
from tsd.operations.config import ApiConfig, BaseConfig, OpConfig
from tsd.operations.context import Interrupted, OpContext
from tsd.operations.record import Record

if TYPE_CHECKING:
    from tsd.operations.completion import ExecutionScope

WORKER_HOOKS = (
    "on_slice_initialized",
    "on_operation_start",
    "on_operation_complete",
    "on_slice_started",
    "on_slice_retry",
    "on_slice_completing",
    "on_slice_failed",
    "on_slice_finalizing",
    "on_slice_finished",
    "on_flush_start",
    "on_flush_end",
)
"""Hooks in a worker. (slice_id) but for on_operation_start (slice_id, index), on_operation_complete
(slice_id, index, count, records), on_slice_finalizing (slice_id, "ok" or "failed") and the two of the flush
(nothing). `on_slice_completing` is tsd's own: the whole chain has ended, sinks make their output visible,
and an exception still fails the attempt."""
SLICER_HOOKS = ("on_slice_enqueued", "on_slice_dispatch", "on_slice_complete", "on_execution_stats")
"""Hooks in a controller: (slice), (slice), (slice, outcome), (stats)."""
_HASH = re.compile(r"@[0-9a-f]{40}$")
"""The id of a bundle, which a checked job has where its author wrote a name."""
HOOKS = frozenset(WORKER_HOOKS + SLICER_HOOKS)
_LOGGED_B = 2_000


class _Done:
    """What the empty methods here return: nothing to wait for, yet `await super().initialize()` works."""

    def __await__(self) -> Any:
        return iter(())


DONE = _Done()


class Component:
    """Base of everything that a process builds from a job: operations, slicers, APIs, observers.

    Attributes:
        ctx: Runtime services.
        config: Its checked options.
        execution: The execution document; read-only.
        log: Bound to the component's name.
        position: Where it stands in the job, for example `operations[1]`; set after construction.
    """

    position: str = ""
    _own_on_methods: ClassVar[frozenset[str]] = frozenset()

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name.startswith("on_") and name not in HOOKS and name not in cls._own_on_methods:
                known = ", ".join(sorted(HOOKS | cls._own_on_methods))
                raise TypeError(f"{cls.__name__}.{name}: there is no such hook; hooks are {known}")

    def __init__(self, ctx: OpContext, config: Any, execution: Mapping[str, Any]) -> None:
        self.ctx = ctx
        self.config = config
        self.execution = execution
        self.log = ctx.log.bind(operation=self.name)

    @property
    def name(self) -> str:
        """Name as in the job."""
        return getattr(self.config, "op", None) or getattr(self.config, "name", "") or type(self).__name__

    @property
    def place(self) -> str:
        """Name and position, as errors give it: `derive (operations[1])`."""
        name = _HASH.sub("", self.name)
        return f"{name} ({self.position})" if self.position else name

    @classmethod
    def check_job(cls, config: Any, job: Mapping[str, Any]) -> Iterable[tuple[str, str]]:  # noqa: ARG003 - for subclasses
        """Check what no option alone can tell; called when each operation of the job is right.

        Args:
            config: The options of this one.
            job: The whole job, defaults filled in; what is changed in it goes into the execution.

        Returns:
            Faults as (option, message).
        """
        return ()

    @classmethod
    def begin_execution(cls, config: Any, scope: "ExecutionScope") -> None:
        """The execution begins, or another controller takes it over: see `tsd.operations.completion`.

        Args:
            config: The options of this one.
            scope: The execution, and whether it makes all of the output.
        """

    @classmethod
    def complete_execution(cls, config: Any, scope: "ExecutionScope") -> None:
        """All slices are recorded and none is in error; what is raised here fails the execution."""

    def initialize(self) -> Any:
        """Set up; called once before anything else."""
        return DONE

    def shutdown(self) -> Any:
        """Clean up; called once at the end, also after a failure."""
        return DONE

    def reject(self, record: Any, error: BaseException | str) -> None:
        """Treat a record that can not be taken as `_dead_letter_action` says; returns None unless it throws.

        A slice that it fails is not tried again: the record would be as bad then.

        Raises:
            BaseException: The error itself, when the action is `throw`.
        """
        if self.config.dead_letter_action == "throw":
            _throw(_final(error))
        self._treat(record, error)

    def _treat(self, record: Any, error: BaseException | str) -> None:
        action = self.config.dead_letter_action
        if action == "throw":
            _throw(error)
        if action == "log":
            self.log.error("record.rejected", record=_loggable(record), reason=str(error))
        self.ctx.reject(record, error, operation=self.name, action=action, position=self.position)

    def try_record(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The function, with what it raises treated by `reject`; then the result is None.

        With the action `throw` the slice is tried again, as after anything that code of users raises.
        """

        def attempt(value: Any) -> Any:
            try:
                return function(value)
            except Interrupted:
                raise
            except Exception as error:  # noqa: BLE001 - the seam to user code; reject decides
                self._treat(value, error)
                return None

        return attempt


class Operation(Component):
    """Base of fetchers and processors."""

    def get_api(self, name: str | None = None) -> Any:
        """The product of an API; of the one that `_api_name` names when no name is given.

        Raises:
            OperationError: There is no such API.
        """
        return self.ctx.apis.get(name or self.config.linked_api or "")

    def create_api(self, name: str, *params: Any) -> Any:
        """The product of an API, made now if it is not made yet."""
        return self.ctx.apis.create(name, *params)


class Fetcher(Operation):
    """The worker's half of a reader: `fetch` turns a slice request into records."""

    def fetch(self, request: Any) -> Any:
        """Read the records of a slice.

        Args:
            request: A copy of what the slicer made; it may be changed.

        Returns:
            A list of records or dictionaries, one of them, or None for nothing.
        """
        raise NotImplementedError


class LateFetcher(Fetcher):
    """A fetcher whose records do not go through the whole chain."""

    def enters_at(self, request: Any) -> int:
        """The index of the operation at which the records of a slice enter; 1 is the first processor.

        Args:
            request: What `fetch` gets too.
        """
        raise NotImplementedError


class Processor(Operation):
    """Base of all that stands behind the reader."""


class BatchProcessor(Processor):
    """A processor that sees all records of a slice at once."""

    _own_on_methods = frozenset({"on_batch"})

    def on_batch(self, records: list[Record]) -> Any:
        """Process the records of a slice; of one without records too.

        A flush calls it with an empty list when it holds records back, which it says by `held_since` or
        by a hook of the flush.

        Returns:
            A list of records or dictionaries, one of them, or None for nothing.
        """
        raise NotImplementedError


class MapProcessor(Processor):
    """A processor that turns each record into another one."""

    def map(self, record: Record, index: int, batch: list[Record]) -> Any:
        """The record that takes the place of this one; None drops it."""
        raise NotImplementedError


class FilterProcessor(Processor):
    """A processor that keeps some of the records."""

    def keep(self, record: Record, index: int, batch: list[Record]) -> Any:
        """Whether the record stays."""
        raise NotImplementedError


class EachProcessor(Processor):
    """A processor that looks at each record and passes the same list on."""

    def each(self, record: Record, index: int, batch: list[Record]) -> Any:
        """Look at one record; what is returned is ignored."""
        raise NotImplementedError


class Kind(StrEnum):
    """What an operation class may stand for in a job."""

    READER = "reader"
    PROCESSOR = "processor"
    API = "api"
    OBSERVER = "observer"


@attrs.frozen(kw_only=True)
class Definition:
    """An operation or API that jobs can name.

    Attributes:
        component: The Fetcher, Processor, Api or Observer.
        slicer: The other half of a reader, else None.
    """

    name: str
    kind: Kind
    config: type[BaseConfig]
    component: type[Component]
    slicer: type[Component] | None = None


MARK = "__tsd_operation__"
"""Attribute of a class that holds its `Definition`; a registry finds classes by it."""

ComponentT = TypeVar("ComponentT", bound=Component)


def operation(
    name: str, *, config: type[OpConfig] = OpConfig
) -> Callable[[type[ComponentT]], type[ComponentT]]:
    """Make a processor class an operation that jobs name in `_op`."""

    def mark(cls: type[ComponentT]) -> type[ComponentT]:
        _require(cls, Processor, "@operation")
        return _mark(cls, Definition(name=name, kind=Kind.PROCESSOR, config=config, component=cls))

    return mark


def reader(
    name: str, *, slicer: type[Component], config: type[OpConfig] = OpConfig
) -> Callable[[type[ComponentT]], type[ComponentT]]:
    """Make a Fetcher class, together with its slicer, a reader that jobs name in their first `_op`."""

    def mark(cls: type[ComponentT]) -> type[ComponentT]:
        _require(cls, Fetcher, "@reader")
        definition = Definition(name=name, kind=Kind.READER, config=config, component=cls, slicer=slicer)
        return _mark(cls, definition)

    return mark


def mark_api(cls: type[ComponentT], name: str, kind: Kind, config: type[ApiConfig]) -> type[ComponentT]:
    """Make a class an API or observer; `tsd.operations.apis.api` checks and calls it."""
    return _mark(cls, Definition(name=name, kind=kind, config=config, component=cls))


def _mark(cls: type[ComponentT], definition: Definition) -> type[ComponentT]:
    if not definition.name or definition.name.startswith(("_", ".")) or set(definition.name) & set("@:/"):
        raise TypeError(f"{cls.__name__}: {definition.name!r} can not be a name")
    setattr(cls, MARK, definition)
    return cls


def _require(cls: type, base: type, decorator: str) -> None:
    if not issubclass(cls, base):
        raise TypeError(f"{decorator} is for a {base.__name__}, and {cls.__name__} is none")


def _throw(error: BaseException | str) -> NoReturn:
    if isinstance(error, BaseException):
        raise error
    raise OperationError(error)


def _final(error: BaseException | str) -> BaseException:
    """The error as one that no other attempt helps against."""
    if isinstance(error, str):
        return NonRetryable(error)
    try:
        error.retryable = False  # type: ignore[attr-defined]
    except AttributeError:  # of a class with slots
        final = NonRetryable(str(error))
        final.__cause__ = error
        return final
    return error


def _loggable(record: Any) -> Any:
    """What a log line has of a rejected value: bytes as text, and not all of a long one."""
    if isinstance(record, bytes):
        return record[:_LOGGED_B].decode("utf-8", "backslashreplace")
    return record
