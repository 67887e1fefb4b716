"""What the harnesses of a worker and of a controller share: a part of a job, built and shut down."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from tsd.operations.apis import Apis
from tsd.operations.context import Events, OpContext
from tsd.operations.testing.bundles import BundlePaths
from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.jobs import Bench, Connections
from tsd.operations.testing.loop import HarnessLoop


class Part(Protocol):
    """What a process runs of a job: a `Pipeline` or a `SlicerRunner`."""

    @property
    def context(self) -> OpContext:
        """Its runtime."""
        ...

    @property
    def apis(self) -> Apis:
        """Its APIs."""
        ...


PartT = TypeVar("PartT", bound=Part)


class ProcessHarness(Generic[PartT]):
    """Base of the harnesses of one process; a subclass says how its part is built.

    Attributes:
        job: The checked job, with every default.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        *,
        bundle: BundlePaths = None,
        modules: Iterable[str] = (),
        connections: Connections | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check a job; arguments and faults as of `WorkerHarness`."""
        self._bench = Bench.of(job, bundle=bundle, modules=modules, connections=connections)
        self.job: Mapping[str, Any] = self._bench.job
        self.warnings = self._bench.warnings
        self._sleep = sleep
        self._stack = ExitStack()
        self._is_closed = False
        self._part: PartT | None = None

    def _build(self, stack: ExitStack, loop: HarnessLoop) -> PartT:
        """Build and initialize the part; what is put on the stack is undone when the harness closes."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if self._part is not None:
            raise HarnessError("a harness is entered once; make another one")
        with ExitStack() as stack:
            loop = HarnessLoop()
            stack.callback(loop.close)
            self._part = self._build(stack, loop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        self._stack.close()

    @property
    def _built(self) -> PartT:
        if self._part is None:
            raise HarnessError("the harness is not open: use it in a with statement")
        return self._part

    @property
    def _open(self) -> PartT:
        built = self._built
        if self._is_closed:
            raise HarnessError("the harness is closed: run slices within its with statement")
        return built

    @property
    def apis(self) -> Apis:
        """The APIs of the job; `apis.observer(name)` gives an observer."""
        return self._built.apis

    def get_api(self, name: str) -> Any:
        """What an API made.

        Raises:
            OperationError: There is no such API.
        """
        return self._built.apis.get(name)

    @property
    def events(self) -> Events:
        """The events of the process."""
        return self._built.context.events

    @property
    def metadata(self) -> dict[str, Any]:
        """A copy of the execution's metadata, as the components of this process have set it."""
        return dict(self._built.context.get_metadata())
