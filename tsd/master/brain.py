"""Drives the cluster core: brings it events, commits what it decides, sends what it says.

One task feeds the machine. It takes what has gathered, commits the saves of all of it in one transaction,
and only then sends messages and gives answers, so nothing leaves this process that a restart would not
know of. During an outage of the store it waits, and so does everybody who asks something.

The mesh is read all the time, also in an outage, because what is not read gathers in libzmq without a bound.
What nodes and controllers say to the machine is level-triggered: a hello, a beat, a report that is repeated
until it is answered. So of each peer only the newest message of each kind waits, however long the outage
lasts. Once the store is damaged for good nothing waits at all.

Slice records and questions of recovery do not go through the machine, but to the store at once.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import attrs
import structlog
import trio

from tsd.core.cluster import events
from tsd.core.cluster.events import (
    Answer,
    Effects,
    Event,
    ExecutionAdded,
    Happened,
    NodeChanged,
    NotSent,
    StatusChanged,
)
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.requests import Request
from tsd.core.kinds import misplaced
from tsd.core.messages import (
    Again,
    AssetAsk,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    NodeBeat,
    NodeHello,
    NodeWanted,
    RecordBatch,
    RecoveryAsk,
    Refused,
    StatusReport,
    ToController,
    ToLibrary,
    ToNode,
)
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import LocalWireError, NotReady, StateError, StoreError
from tsd.ids import parse_process_id
from tsd.master.bundles import BundleFiles
from tsd.master.ended import EndedJobs
from tsd.master.handout import Handout
from tsd.master.intake import Intake
from tsd.master.watches import Watches
from tsd.mesh.endpoint import Listener, Sent
from tsd.store.executions import Created, CreateExecution
from tsd.store.records import Recorded
from tsd.store.replay import Replay
from tsd.store.store import Store

log = structlog.get_logger()

ASKS_MAX = 10_000
"""With more events waiting requests are refused: in an outage clients that ask again fill no memory."""
WORDS_MAX = 100_000
"""Messages of the mesh that wait; there are fewer peers, unless somebody makes up names."""


@attrs.define(eq=False, kw_only=True)
class _Item:
    """An event on its way through the machine; `done` is set once its effects are durable and sent."""

    event: Event
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: Answer = None
    error: Exception | None = None


@attrs.define(eq=False, kw_only=True)
class Brain:
    """See the module's docstring. `run` must be running for anything to be answered.

    Attributes:
        machine: The cluster core; others may ask it questions, never feed it.
        bundles: The zips that nodes ask for; None where there are none.
        watches: Who waits for a status, or for a node.
        ended: How many executions ended in each terminal status since this master started.
        ended_jobs: The same by the name of the job, and when.
        changed_at: When the status of an execution that has not ended was stored, if this master did it.
    """

    machine: ClusterMachine
    store: Store
    listener: Listener
    now: Callable[[], float]
    bundles: BundleFiles | None = None
    watches: Watches = attrs.field(factory=Watches)
    ended: Counter[Status] = attrs.field(factory=Counter)
    ended_jobs: EndedJobs = attrs.field(factory=EndedJobs)
    changed_at: dict[str, float] = attrs.field(factory=dict)
    _queue: dict[object, _Item] = attrs.field(factory=dict)
    """In order; words of the mesh by peer and kind, everything else by itself."""
    _word_count: int = 0
    _arrived: trio.Event = attrs.field(factory=trio.Event)
    _intake: Intake = attrs.field(init=False)
    _handout: Handout | None = attrs.field(default=None, init=False)
    _asking: set[str] = attrs.field(factory=set)
    _creating: dict[str, trio.Event] = attrs.field(factory=dict)
    _nursery: trio.Nursery | None = None
    _damage: StoreError | None = None

    def __attrs_post_init__(self) -> None:
        self._intake = Intake(
            store=self.store,
            answer=self._send,
            on_stored=self._note_stored,
        )
        if self.bundles is not None:
            self._handout = Handout(bundles=self.bundles, answer=self._send)

    def _note_stored(self, ex_id: str, stored: Recorded) -> None:
        self.post(
            events.RecordsStored(
                ex_id=ex_id, before=stored.before, ended=stored.ended, newly_failed=stored.newly_failed
            )
        )

    @property
    def waiting_count(self) -> int:
        """Events that wait for the machine."""
        return len(self._queue)

    @property
    def fault(self) -> str:
        """Why nothing that comes over the mesh is answered; empty when it is."""
        if self._damage is not None:
            return f"nothing is decided any more: {self._damage}"
        return "" if self._nursery is not None else "the mesh is not read"

    # --- what others ask ------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Have an event handled, unless nothing is decided any more; nobody waits for what comes of it."""
        if self._damage is None:
            self._put(_Item(event=event))

    async def ask(self, event: Event) -> Answer:
        """Have a request handled; returns once what it changed is durable.

        When cancelled the request is handled all the same.

        Raises:
            StateError: It does not fit; nothing was changed.
            NotReady: Too much waits for the store.
            StoreError: The store is damaged, or cannot be written to for now.
        """
        return await self.store.unless_failing(partial(self._take_request, event))

    async def _take_request(self, event: Event) -> Answer:
        if len(self._queue) >= ASKS_MAX:
            raise NotReady("too many requests wait for the store")
        added = self._creating.get(event.ex_id) if isinstance(event, Request) else None
        if added is not None:
            # Clients can read it from the store a moment before the machine knows of it.
            await added.wait()
        return await self._ask(event)

    async def _ask(self, event: Event) -> Answer:
        if self._damage is not None:
            raise StoreError(str(self._damage))
        item = _Item(event=event)
        self._put(item)
        await item.done.wait()
        if item.error is not None:
            raise item.error
        return item.answer

    async def create(self, request: CreateExecution | Replay) -> Created:
        """Store an execution and have it run. When cancelled that happens all the same.

        Raises:
            StateError: It does not fit what is stored.
            StoreError: It can not be stored.
            NotReady: The master ends.
        """
        if self._nursery is None:
            raise NotReady("the master is ending")
        result: list[Created | Exception] = []
        self._creating[request.ex_id] = done = trio.Event()

        async def create() -> None:
            try:
                created = await self.store.create_execution(request)
            except (StateError, StoreError) as error:
                result.append(error)
            else:
                self.post(ExecutionAdded(record=created.record))
                result.append(created)
            self._creating.pop(request.ex_id, None)
            done.set()

        self._nursery.start_soon(create)
        await done.wait()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    async def shut_down(self) -> None:
        """Let what was asked before be done, and decide nothing more; `run` ends after that."""
        await self._ask(events.Shutdown())
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the machine until `shut_down` or cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._decide)
                nursery.start_soon(self._read_mesh)
                task_status.started()
        finally:
            self._nursery = None

    # --- the machine ----------------------------------------------------------------------------

    def _put(self, item: _Item) -> None:
        self._queue[item] = item
        self._arrived.set()

    def _put_word(self, event: events.FromNode | events.FromController) -> None:
        """Have a message handled; it takes the place of an older one of its kind, which says nothing more."""
        if self._damage is not None:
            return
        key = (event.peer, type(event.message))
        if self._queue.pop(key, None) is None:
            if self._word_count >= WORDS_MAX:
                self.listener.count_bad(event.peer, "too many peers wait for the store")
                return
            self._word_count += 1
        self._queue[key] = _Item(event=event)
        self._arrived.set()

    async def _decide(self) -> None:
        while True:
            items = await self._gather()
            handled = [(item, effects) for item in items if (effects := self._handle(item)) is not None]
            try:
                await self.store.apply_saves([save for _, effects in handled for save in effects.saves])
            except StoreError as error:
                await self._give_up(error, items)
            for item, effects in handled:
                self._carry_out(effects)
                item.answer = effects.answer
            for item in items:
                item.done.set()

    async def _gather(self) -> list[_Item]:
        """All events that wait, and a tick when it is time for one; at least one event."""
        while True:
            due_at = self.machine.wake_at()
            wait_s = float("inf") if due_at is None else max(0.0, due_at - self.now())
            with trio.move_on_after(wait_s):
                await self._arrived.wait()
            self._arrived = trio.Event()
            items = list(self._queue.values())
            self._queue.clear()
            self._word_count = 0
            # Behind the messages: what they say may make what the tick would do unnecessary.
            if due_at is not None and due_at <= self.now():
                items.append(_Item(event=events.Tick()))
            if items:
                return items

    def _handle(self, item: _Item) -> Effects | None:
        try:
            return self.machine.handle(item.event, now=self.now())
        except StateError as error:
            item.error = error
            return None

    def _carry_out(self, effects: Effects) -> None:
        for send in effects.sends:
            sent = self._send(send.peer, send.message)
            if sent is not Sent.SENT:
                unreachable = sent is Sent.UNREACHABLE
                self.post(NotSent(peer=send.peer, message=send.message, unreachable=unreachable))
        for action in effects.actions:
            match action:
                case StatusChanged():
                    self.watches.tell(action.ex_id, action.status)
                    self.changed_at[action.ex_id] = self.now()
                    if action.status in TERMINAL_STATUSES:
                        self._intake.forget(action.ex_id)
                        self.ended[action.status] += 1
                        self.ended_jobs.note(action.name, action.status, self.now())
                        del self.changed_at[action.ex_id]
                case NodeChanged():
                    self.watches.tell_of_nodes()
                case Happened():
                    write = log.warning if action.is_warning else log.info
                    write(action.event, **action.facts)

    async def _give_up(self, error: StoreError, items: list[_Item]) -> None:
        """The store can not be written any more: stay, say so to everybody who asks, decide nothing.

        Controllers get no answer and pause when their lease runs out, so nothing is lost meanwhile.
        """
        log.error("store.damaged", reason=str(error))
        self._damage = error
        for item in [*items, *self._queue.values()]:
            item.error = item.error or StoreError(str(error))
            item.done.set()
        self._queue.clear()
        await trio.sleep_forever()

    # --- the mesh -------------------------------------------------------------------------------

    def _send(self, peer: str, message: ToNode | ToLibrary | ToController) -> Sent:
        """Send; of what can not be sent at all the machine hears, and it must not end the master."""
        try:
            return self.listener.send(peer, message)
        except LocalWireError as error:
            log.error("mesh.unsendable", peer_id=peer, kind=type(message).__name__, reason=str(error))  # noqa: TRY400 - the reason says it
            if isinstance(message, ControllerWelcome | NodeWanted):
                self.post(events.Unsendable(peer=peer, message=message, reason=str(error)))
            return Sent.SENT

    async def _read_mesh(self) -> None:
        assert self._nursery is not None
        while True:
            for received in await self.listener.receive():
                self._take(received.peer, received.message, self._nursery)

    def _take(self, peer: str, message: object, nursery: trio.Nursery) -> None:
        if reason := misplaced(peer, message):
            self.listener.count_bad(peer, reason)
            return
        match message:
            case RecordBatch():
                if self.machine.accepts(message.ex_id, message.generation, peer):
                    self._intake.take(peer, message, nursery)
                else:
                    self._send(peer, self.machine.turn_away(message.ex_id, message.generation, peer))
            case RecoveryAsk():
                self._take_question(peer, message, nursery)
            case AssetAsk() if self._handout is not None:
                if self.machine.knows_node(peer):
                    self._handout.take(peer, message, nursery)
                else:
                    self._send(peer, Again())
            case ControllerHello() | ControllerBeat() | StatusReport():
                self._put_word(events.FromController(peer=peer, message=message))
            case NodeHello() | NodeBeat():
                self._put_word(events.FromNode(peer=peer, message=message))
            case _:
                log.warning("mesh.unexpected", peer_id=peer, kind=type(message).__name__)

    def _take_question(self, peer: str, ask: RecoveryAsk, nursery: trio.Nursery) -> None:
        name = parse_process_id(peer)
        if name is None:
            return
        if not self.machine.accepts(name.ex_id, ask.generation, peer):
            self._send(peer, self.machine.turn_away(name.ex_id, ask.generation, peer))
        elif peer not in self._asking:
            self._asking.add(peer)
            nursery.start_soon(self._answer_question, peer, name.ex_id, ask)

    async def _answer_question(self, peer: str, ex_id: str, ask: RecoveryAsk) -> None:
        """Answer; a question that could not be answered comes again."""
        try:
            while True:
                page = await self.store.recovery_page(ex_id, ask)
                try:
                    self.listener.send(peer, page)
                    return
                except LocalWireError as error:
                    # Large requests: fewer of them fit into one message.
                    if ask.limit == 1:
                        self._refuse_recovery(peer, ex_id, error)
                        return
                    ask = attrs.evolve(ask, limit=max(1, ask.limit // 4))
        except (StateError, StoreError) as error:
            log.warning("recovery.unanswered", ex_id=ex_id, reason=str(error))
        finally:
            self._asking.discard(peer)

    def _refuse_recovery(self, peer: str, ex_id: str, error: LocalWireError) -> None:
        """The execution can not go on by itself; its controllers end until it has failed."""
        log.error("recovery.unsendable", ex_id=ex_id, reason=str(error))
        reason = f"the last requests of the slicers are more than a message can carry: {error}"
        self._send(peer, Refused(reason=reason))
