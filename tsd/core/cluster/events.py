"""What goes into the cluster core, and what comes out of it."""

import attrs

from tsd.core.cluster.records import ClusterSettings, Drain, ExecutionRecord, Intent
from tsd.core.messages import ControllerWelcome, NodeWanted, ToController, ToNode
from tsd.core.messages import FromController as ControllerMessage
from tsd.core.messages import FromNode as NodeMessage
from tsd.core.records import EndedSlices, ExecutionStats, Status

# --- events -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class FromNode:
    """A message of a node arrived."""

    peer: str
    message: NodeMessage


@attrs.frozen(kw_only=True)
class FromController:
    """A hello, beat or status report of a controller arrived.

    Record batches and recovery questions go to the store, after `ClusterMachine.accepts` was asked.
    """

    peer: str
    message: ControllerMessage


@attrs.frozen(kw_only=True)
class NotSent:
    """A message could not be sent.

    Attributes:
        unreachable: The link to the peer is down (or was never up); False when only its queue was full.
    """

    peer: str
    message: ToNode | ToController
    unreachable: bool


@attrs.frozen(kw_only=True)
class Unsendable:
    """A message could not be sent and never can: it is too large, or has a text that is no Unicode."""

    peer: str
    message: ControllerWelcome | NodeWanted
    reason: str


@attrs.frozen(kw_only=True)
class RecordsStored:
    """Slice records of an execution became durable: it makes progress.

    Attributes:
        before: What it had done before, by its records; None when that is not known.
        ended: What it has done now.
        newly_failed: How many slices came to be in error.
    """

    ex_id: str
    before: EndedSlices | None = None
    ended: EndedSlices | None = None
    newly_failed: int = 0


@attrs.frozen(kw_only=True)
class ExecutionAdded:
    """An execution was stored as `pending`."""

    record: ExecutionRecord


@attrs.frozen(kw_only=True)
class StopRequested:
    """Somebody wants the execution to end.

    Nothing happens when it has ended already. Wait for a terminal `StatusChanged`.

    Attributes:
        within_s: Time that running slices have; None for `shutdown_timeout`.
        force: Do not wait for running slices.
    """

    ex_id: str
    within_s: float | None = None
    force: bool = False


@attrs.frozen(kw_only=True)
class PauseRequested:
    """Hand out nothing. The answer is a `WaitFor`."""

    ex_id: str


@attrs.frozen(kw_only=True)
class ResumeRequested:
    """Hand out again. The answer is a `WaitFor`."""

    ex_id: str


@attrs.frozen(kw_only=True)
class WorkersRequested:
    """Change the wanted number of workers. The answer is a `Scaled`.

    Attributes:
        action: `add`, `remove` or `total`.
        count: At least 1.
    """

    ex_id: str
    action: str
    count: int


@attrs.frozen(kw_only=True)
class LogLevelRequested:
    """Change the log level of the processes of an execution."""

    ex_id: str
    level: str


@attrs.frozen(kw_only=True)
class DrainNode:
    """Place nothing more on a node, and have what it runs end in good order and go on elsewhere.

    Again for a node that is drained already it changes nothing, but that it can shorten the time.

    Attributes:
        within_s: Time that running slices have; None for as long as they need.
    """

    node_id: str
    within_s: float | None = None


@attrs.frozen(kw_only=True)
class UndrainNode:
    """Place on the node again; what was told to end ends all the same."""

    node_id: str


@attrs.frozen(kw_only=True)
class SettingsChanged:
    """These settings hold from now on; the lease and the interval of beats are the same."""

    settings: ClusterSettings


@attrs.frozen(kw_only=True)
class Shutdown:
    """The master ends: executions go on without it, nothing new is started or judged."""


@attrs.frozen(kw_only=True)
class Tick:
    """The moment of `wake_at` has come."""


Event = (
    FromNode
    | FromController
    | NotSent
    | Unsendable
    | RecordsStored
    | ExecutionAdded
    | StopRequested
    | PauseRequested
    | ResumeRequested
    | WorkersRequested
    | LogLevelRequested
    | DrainNode
    | UndrainNode
    | SettingsChanged
    | Shutdown
    | Tick
)


# --- saves: committed together, before anything is sent ---------------------------------------


@attrs.frozen(kw_only=True)
class SaveStatus:
    """Write the status, if it is still `expected`. Fields that are None stay as they are.

    `expected` and `status` may be equal: then only the fields (and the time of update) change.
    """

    ex_id: str
    expected: Status
    status: Status
    has_errors: bool | None = None
    failure_reason: str | None = None
    stats: ExecutionStats | None = None
    slicer_hostname: str | None = None
    slicer_port: int | None = None
    started: str | None = None
    recorded: int | None = None
    """At the end: 1 when every slice that was handed out has a record, 0 when none was made."""


@attrs.frozen(kw_only=True)
class SaveGeneration:
    """Write the generation (never lower than before) and where its controller was placed.

    `controller_node` None says that the controller of this generation has ended.
    """

    ex_id: str
    generation: int
    controller_node: str | None


@attrs.frozen(kw_only=True)
class SaveIntent:
    """Write what is wanted of the execution."""

    ex_id: str
    intent: Intent


@attrs.frozen(kw_only=True)
class SaveMetadata:
    """Write the metadata that operations have set, a JSON object, in place of what is there."""

    ex_id: str
    metadata: str


@attrs.frozen(kw_only=True)
class SaveDrain:
    """Write that a node is to be drained, in place of what is there; `drain` None: it is not any more."""

    node_id: str
    drain: Drain | None


Save = SaveStatus | SaveGeneration | SaveIntent | SaveMetadata | SaveDrain


# --- sends, actions, answers ------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Send:
    """Send a message; when that fails, feed `NotSent`."""

    peer: str
    message: ToNode | ToController


@attrs.frozen(kw_only=True)
class StatusChanged:
    """The status is now this: wake whoever waits for it. `name` is that of the job."""

    ex_id: str
    status: Status
    name: str = ""


@attrs.frozen(kw_only=True)
class NodeChanged:
    """A node is drained now, or is not to be any more, or is lost: wake whoever waits for that."""

    node_id: str


@attrs.frozen(kw_only=True)
class Happened:
    """Something worth a line in the log: `event` is its fixed name, `facts` its keys."""

    event: str
    facts: dict[str, str | int | float | None]
    is_warning: bool = False


Action = StatusChanged | NodeChanged | Happened


@attrs.frozen(kw_only=True)
class WaitFor:
    """Answer to pause and resume: done once the status is one of these (it may be already)."""

    statuses: frozenset[Status]


@attrs.frozen(kw_only=True)
class Scaled:
    """Answer to a change of the number of workers: `<count> workers have been <action>`."""

    count: int
    action: str


Answer = WaitFor | Scaled | None


@attrs.frozen(kw_only=True)
class Effects:
    """What to do now, in this order: commit all `saves` in one transaction, then the rest."""

    saves: tuple[Save, ...] = ()
    sends: tuple[Send, ...] = ()
    actions: tuple[Action, ...] = ()
    answer: Answer = None


@attrs.define(kw_only=True)
class Outbox:
    """Gathers the effects of one event."""

    saves: list[Save] = attrs.field(factory=list)
    sends: list[Send] = attrs.field(factory=list)
    actions: list[Action] = attrs.field(factory=list)

    def send(self, peer: str, message: ToNode | ToController) -> None:
        """Send `message` once everything is saved."""
        self.sends.append(Send(peer=peer, message=message))

    def log(self, event: str, *, is_warning: bool = False, **facts: str | float | None) -> None:
        """Leave a line for the log."""
        self.actions.append(Happened(event=event, facts=facts, is_warning=is_warning))

    def effects(self, answer: Answer = None) -> Effects:
        """The effects that were gathered."""
        return Effects(
            saves=tuple(self.saves), sends=tuple(self.sends), actions=tuple(self.actions), answer=answer
        )
