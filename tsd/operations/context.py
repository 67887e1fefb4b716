"""What operations are given: log, events, APIs, metadata, and the slice in work."""

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import structlog
import trio

from tsd.error_texts import located
from tsd.errors import AssetError, NonRetryable, TsdError
from tsd.operations.config import STORE_ACTION
from tsd.operations.dates import now_ms
from tsd.operations.letters import LetterBox, letter_of
from tsd.operations.slice import Slice

if TYPE_CHECKING:
    from tsd.operations.apis import Apis
    from tsd.operations.bundled import OperationBundle


class Interrupted(TsdError):
    """The process is stopping: `OpContext.sleep` may raise it to leave a wait, and the slice is not done."""


class Events:
    """Named events of the process; listeners run in the operation thread, in the order they came."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[..., object]]] = {}

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def on(self, name: str, listener: Callable[..., object]) -> None:
        """Call the listener with the event's arguments whenever it is emitted."""
        self._listeners.setdefault(name, []).append(listener)

    def emit(self, name: str, *args: object) -> None:
        """Call the listeners of the event."""
        for listener in self._listeners.get(name, ()):
            listener(*args)


@attrs.frozen(kw_only=True, eq=False)
class Rejection:
    """A record that an operation could not take.

    Attributes:
        record: What was rejected: a record, bytes, text or an object.
        error: Why.
        operation: Name of the operation or API.
        action: Its dead-letter action.
        slice_id: Slice in work, None outside of one.
        attempt: 1 for the first attempt of the slice.
        time: When, epoch milliseconds.
        position: Where the operation or API stands in the job.
    """

    record: Any
    error: Any
    operation: str
    action: str
    slice_id: str | None
    attempt: int
    time: int
    position: str = ""


class DeadLetterSink:
    """A product of an API that takes rejected records with all that is known about them.

    A product that is a plain function gets (record, error) for each instead.
    """

    def take(self, rejections: "Sequence[Rejection]") -> Any:
        """Take the rejected records of an attempt that has ended, all that name this API; may be async.

        Raises:
            Exception: They were not taken: none of them counts as delivered, and the attempt fails.
        """
        raise NotImplementedError


@attrs.define(kw_only=True, eq=False)
class OpContext:
    """Runtime of the operations of one process; all share one.

    Attributes:
        execution: The execution document; treat it as read-only.
        worker_id: Id of the process.
        connections: Settings of connections as type -> name -> settings.
        bundles: The unpacked bundles of the job, in its order.
        data_path: A folder of the process for scratch files, when there is one.
        run_async: Runs an async function to its end on the trio loop and returns its result; called in the
            operation thread.
        spawn: Starts an async function on the trio loop and returns at once; None where that is not
            possible, then async slicer functions run one after another.
        sleep: Waits so many seconds; may return early or raise `Interrupted` when the process is stopping.
        on_doing: Told what begins now that is no slice, in words.
        on_metadata: Told all metadata of the execution when some is set; what it raises refuses the change.
        on_reject: Told of each rejected record, whatever the action; for test harnesses.
        slice: The slice in work.
        slice_number: How many slices this process has begun, so 1 for its first; a flush belongs to the last.
        attempt: Number of its attempt, from 1.
        runs_user_code: Some component of the job is not tsd's own, so that records may hold anything.
        rejections: Rejected records of this attempt that wait for their dead-letter API.
        letters: Those that are to be stored; None in a process that runs no slices.
    """

    execution: Mapping[str, Any] = attrs.field(factory=dict)
    worker_id: str = ""
    log: Any = attrs.field(factory=lambda: structlog.get_logger("tsd.operations"))
    events: Events = attrs.field(factory=Events)
    connections: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    bundles: "Sequence[OperationBundle]" = ()
    data_path: Path | None = None
    run_async: Callable[..., Any] = trio.run
    spawn: Callable[[Callable[[], Awaitable[None]]], None] | None = None
    sleep: Callable[[float], None] = time.sleep
    on_doing: Callable[[str], None] = lambda _what: None
    on_metadata: Callable[[Mapping[str, Any]], None] | None = None
    on_reject: Callable[[Rejection], None] | None = None
    slice: Slice | None = None
    slice_number: int = 0
    attempt: int = 1
    runs_user_code: bool = True
    rejections: list[Rejection] = attrs.field(factory=list, init=False)
    letters: LetterBox | None = attrs.field(default=None, init=False)
    _apis: "Apis | None" = attrs.field(default=None, init=False)
    _metadata: dict[str, Any] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._metadata.update(self.execution.get("metadata") or {})

    @property
    def apis(self) -> "Apis":
        """The APIs of the process."""
        assert self._apis is not None, "APIs come with a Pipeline or a SlicerRunner"
        return self._apis

    def attach_apis(self, apis: "Apis") -> None:
        """Give the context its APIs; done once by the pipeline or the slicer runner."""
        self._apis = apis

    def asset_path(self, identifier: str) -> Path:
        """The folder of a bundle of the job.

        Args:
            identifier: The id, `name:version`, or the name.

        Raises:
            AssetError: The job has no such bundle.
        """
        name = identifier.partition(":")[0]
        for wanted in (identifier, name):
            for bundle in self.bundles:
                if wanted in {bundle.asset_id, f"{bundle.name}:{bundle.version}", bundle.name}:
                    return bundle.folder
        raise AssetError(f'No assets found for "{identifier}" among those of the job')

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a plain method here, or run an async one on the loop and wait for it."""
        if inspect.iscoroutinefunction(method):
            return self.run_async(method, *args)
        return method(*args)

    def get_metadata(self, name: str | None = None) -> Any:
        """One value of the execution's metadata, None when it is not set; all of it without a name."""
        return dict(self._metadata) if name is None else self._metadata.get(name)

    def set_metadata(self, name: str, value: Any) -> None:
        """Set a value of the execution's metadata.

        What slicers and APIs in the controller set is stored with the execution, and is there again in the
        next controller. What is set in a worker stays in that process.

        Raises:
            ValueError: In a controller: it is no JSON, or all of it would be longer than 16 KiB.
        """
        changed = {**self._metadata, name: value}
        if self.on_metadata is not None:
            self.on_metadata(changed)
        self._metadata = changed

    def reject(self, record: Any, error: Any, *, operation: str, action: str, position: str = "") -> None:
        """Take in a rejected record; its dead-letter API, or the store, gets it when the attempt has ended.

        Raises:
            OperationError: The slice has more records to store than it may have.
        """
        rejection = Rejection(
            record=record,
            error=error,
            operation=operation,
            action=action,
            slice_id=None if self.slice is None else self.slice.slice_id,
            attempt=self.attempt,
            time=now_ms(),
            position=position,
        )
        if self.on_reject is not None:
            self.on_reject(rejection)
        if self._is_stored(action):
            self._store(rejection)
        elif action not in ("none", "log"):
            self.rejections.append(rejection)

    def _store(self, rejection: Rejection) -> None:
        box = self.letters
        if box is None or rejection.slice_id is None:
            # Letters go with a slice; here is none.
            self.log.error(
                "record.rejected",
                operation=rejection.operation,
                record=rejection.record,
                reason=str(rejection.error),
            )
            return
        letter = letter_of(
            rejection.record,
            rejection.error,
            operation=rejection.operation,
            position=rejection.position,
            slice_id=rejection.slice_id,
            attempt=rejection.attempt,
            worker=self.worker_id,
        )
        if box.fault or not box.put(letter):
            # An operation may catch what is raised here; the end of the chain looks at this.
            self.rejections.append(rejection)
            raise NonRetryable(box.fault)

    def deliver_rejections(self) -> None:
        """Hand the waiting rejected records to the APIs that their operations name.

        Raises:
            OperationError: There are more records to store than a slice may have.
            Exception: What such an API raised; the records that were not delivered stay.
        """
        while self.rejections:
            first = self.rejections[0]
            if self._is_stored(first.action):
                del self.rejections[0]
                continue
            product = self.apis.get(first.action)
            try:
                self._deliver(product, first)
            except Exception as error:
                located(error, self.apis.place_of(first.action))
                raise
        if self.letters is not None and self.letters.fault:
            raise NonRetryable(self.letters.fault)

    def _deliver(self, product: Any, first: Rejection) -> None:
        """Hand the first waiting record to its API, or all that name this one to an API that takes all."""
        if isinstance(product, DeadLetterSink):
            together = [each for each in self.rejections if each.action == first.action]
            self.call(product.take, together)
            self.rejections = [each for each in self.rejections if each.action != first.action]
        else:
            self.call(product, first.record, first.error)
            del self.rejections[0]

    def _is_stored(self, action: str) -> bool:
        return action == STORE_ACTION and not self.apis.has(STORE_ACTION)

    def forget_rejections(self) -> None:
        """The attempt is not the last one of its slice: nothing of what it rejected is delivered."""
        self.rejections.clear()
        if self.letters is not None:
            self.letters.clear()
