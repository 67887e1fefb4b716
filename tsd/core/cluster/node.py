"""The brain of the node daemon: it runs what the master wants, and says what really runs.

How a shell drives it:

* Feed one event at a time to `handle`; then do the `actions` in order and send the `sends` to the master.
  A fresh machine wants its first `Tick` at once; after that feed `Tick()` when `wake_at()` has come
  (ask again after each event).
* For each `Prepare` feed `Prepared` or `StartFailed` once. For each `Start` feed `Started` or `StartFailed`
  once, and for each started process `Exited` once, also after it was signalled.
* `LinkChanged` is fed first of all, and whenever the link to the master comes up or goes down.
* `Terminate` says that the daemon was told to end; a second one, or `hurry`, does not wait for what runs.
  After `Exit` nothing more is fed; what still runs then goes down with the daemon.
* `now` is in seconds of any clock that never steps.

A node ends nothing because the master is away: processes go on and are reported when it is back.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Literal, assert_never

import attrs

from tsd.core.counts import MeshCounts
from tsd.core.hellos import Hellos, LinkChanged
from tsd.core.messages import (
    LINK_SILENCE_BEATS,
    PROTOCOL,
    Again,
    Alive,
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    ProcessExit,
    ProcessReport,
    ProcessSpec,
    Refused,
    ToNode,
)
from tsd.core.messages import FromNode as NodeMessage

KILL_MARGIN_S = 3.0
"""Between the end of `shutdown_timeout` and the SIGKILL, and between that and leaving all the same."""
EX_UNAVAILABLE = 69
"""Exit code of a node that the master refuses (sysexits.h)."""


@attrs.frozen(kw_only=True)
class NodeSettings:
    """What a node is, and its times in seconds.

    `heartbeat_interval_s` holds until the master says its own in the welcome.
    """

    node_id: str
    hostname: str
    pid: int
    slots: int
    version: str = ""
    python: str = ""
    heartbeat_interval_s: float = 1.0
    shutdown_timeout_s: float = 60.0
    config: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)


# --- events -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class FromMaster:
    """A message of the master arrived."""

    message: ToNode


@attrs.frozen(kw_only=True)
class Prepared:
    """What a process needs is on this host."""

    proc_id: str


@attrs.frozen(kw_only=True)
class Started:
    """A process runs."""

    proc_id: str
    pid: int


@attrs.frozen(kw_only=True)
class StartFailed:
    """A process could not be started."""

    proc_id: str
    reason: str


@attrs.frozen(kw_only=True)
class Exited:
    """A process ended."""

    exit: ProcessExit


@attrs.frozen(kw_only=True)
class Terminate:
    """The daemon is to end: drain what runs, or kill it with `hurry`."""

    hurry: bool = False


@attrs.frozen(kw_only=True)
class Reconfigured:
    """The settings are other ones now; id, pid and host are the same."""

    settings: NodeSettings


@attrs.frozen(kw_only=True)
class NotSent:
    """A message to the master could not be sent; all of them are repeated anyway."""

    message: NodeMessage


@attrs.frozen(kw_only=True)
class Tick:
    """The moment of `wake_at` has come."""


Event = (
    FromMaster
    | LinkChanged
    | Prepared
    | Started
    | StartFailed
    | Exited
    | Terminate
    | Reconfigured
    | NotSent
    | Tick
)


# --- effects ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Prepare:
    """Unpack the bundles of a process, unless they are there; it is started after that."""

    spec: ProcessSpec


@attrs.frozen(kw_only=True)
class Start:
    """Start a process."""

    spec: ProcessSpec


@attrs.frozen(kw_only=True)
class Signal:
    """Send a started process SIGTERM or SIGKILL; one that has just ended is no error."""

    proc_id: str
    signal: Literal["term", "kill"]


@attrs.frozen(kw_only=True)
class Exit:
    """End the daemon, after the sends; `reason` is empty when it was told to."""

    code: int
    reason: str = ""


Action = Prepare | Start | Signal | Exit


@attrs.frozen(kw_only=True)
class NodeEffects:
    """What to do now: actions in order, and messages to send to the master."""

    actions: tuple[Action, ...] = ()
    sends: tuple[NodeMessage, ...] = ()


class Sent(Enum):
    """The strongest signal that a process was sent."""

    NOTHING = 0
    TERM = 1
    KILL = 2


@attrs.define(kw_only=True)
class Process:
    """A process of this node; pid 0 while it starts, and before that while its bundles are prepared."""

    spec: ProcessSpec
    is_preparing: bool = False
    pid: int = 0
    sent: Sent = Sent.NOTHING
    kill_at: float | None = None
    """It is to end: SIGTERM now, SIGKILL then. None while it is wanted."""


@attrs.define(kw_only=True)
class NodeMachine:
    """All decisions of a node; see the module's docstring for how to drive it."""

    settings: NodeSettings
    _processes: dict[str, Process] = attrs.field(factory=dict, init=False)
    _exits: dict[str, ProcessExit] = attrs.field(factory=dict, init=False)
    _ended: set[str] = attrs.field(factory=set, init=False)
    """Processes that ended and may still be wanted: they are not started again."""
    _revision: int = attrs.field(default=0, init=False)
    _is_welcome: bool = attrs.field(default=False, init=False)
    _welcomes: int = attrs.field(default=0, init=False)
    _beat_s: float = attrs.field(init=False)
    _hellos: Hellos = attrs.field(init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)
    _beat_at: float = attrs.field(default=0.0, init=False)
    _leave_by: float | None = attrs.field(default=None, init=False)
    """Draining; what is left then is killed, and a little later the node leaves all the same."""
    _exit: Exit | None = attrs.field(default=None, init=False)
    _is_gone: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _actions: list[Action] = attrs.field(factory=list, init=False)
    _sends: list[NodeMessage] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._beat_s = self.settings.heartbeat_interval_s
        self._hellos = Hellos(beat_s=self._beat_s)

    @property
    def processes(self) -> tuple[str, ...]:
        """The processes that run or are being started."""
        return tuple(self._processes)

    @property
    def is_welcome(self) -> bool:
        """The master knows this node."""
        return self._is_welcome

    @property
    def is_draining(self) -> bool:
        """It takes nothing more, and leaves."""
        return self._leave_by is not None

    def handle(self, event: Event, *, now: float) -> NodeEffects:
        """Take in one event."""
        self._now = now
        if self._is_gone:
            return NodeEffects()
        match event:
            case FromMaster():
                self._from_master(event.message)
            case LinkChanged():
                if self._hellos.link_changed(is_up=event.is_up, now=now) and not self._is_welcome:
                    self._say_hello()
            case Prepared():
                self._prepared(event.proc_id)
            case Started():
                self._started(event.proc_id, event.pid)
            case StartFailed():
                if process := self._processes.get(event.proc_id):
                    self._ended_with(
                        ProcessExit(
                            proc_id=event.proc_id,
                            ex_id=process.spec.ex_id,
                            exit_code=None,
                            signal=None,
                            doing="it was to be started",
                            detail=event.reason,
                        )
                    )
            case Exited():
                self._ended_with(event.exit)
            case Terminate():
                self._terminate(hurry=event.hurry)
            case Reconfigured():
                self._reconfigure(event.settings)
            case NotSent():
                pass
            case Tick():
                self._tick()
            case _:
                assert_never(event)
        self._enforce()
        effects = NodeEffects(actions=tuple(self._actions), sends=tuple(self._sends))
        self._actions.clear()
        self._sends.clear()
        return effects

    def wake_at(self) -> float:
        """When to feed the next `Tick`; never after `Exit`."""
        if self._is_gone:
            return float("inf")
        times = [self._beat_at]
        times += [
            process.kill_at
            for process in self._processes.values()
            if process.kill_at is not None and process.pid and process.sent is not Sent.KILL
        ]
        if self._leave_by is not None:
            times += [self._leave_by if self._now < self._leave_by else self._leave_by + KILL_MARGIN_S]
        return min(times)

    # --- the master ---------------------------------------------------------------------------

    def _from_master(self, message: ToNode) -> None:
        self._heard_at = self._now
        match message:
            case Again():
                if self._is_welcome or self._hellos.is_due(self._now):
                    self._is_welcome = False
                    self._say_hello()
            case Refused():
                for process in self._processes.values():
                    process.kill_at = self._now
                self._leave(Exit(code=EX_UNAVAILABLE, reason=message.reason))
            case Alive():
                pass
            case NodeWelcome():
                self._welcomes += not self._is_welcome
                self._is_welcome = True
                self._hellos.answered()
                self._beat_s = message.beat_interval_s
                self._beat_at = min(self._beat_at, self._now + self._beat_s)
            case NodeWanted():
                self._take_wanted(message)
            case _:
                assert_never(message)

    def _take_wanted(self, wanted: NodeWanted) -> None:
        if wanted.revision <= self._revision or not self._is_welcome:
            return
        self._revision = wanted.revision
        for proc_id in wanted.exits_seen:
            if self._exits.pop(proc_id, None) is not None:
                self._ended.add(proc_id)
        specs = {spec.proc_id: spec for spec in wanted.processes}
        self._ended &= specs.keys()
        for proc_id, process in self._processes.items():
            if proc_id in wanted.endings:
                self._end(process, wanted.endings[proc_id])
            elif proc_id not in specs:
                self._end(process, 0.0, is_gentle=False)
        if self._leave_by is None:
            for proc_id, spec in specs.items():
                if not (proc_id in self._processes or proc_id in self._exits or proc_id in self._ended):
                    self._processes[proc_id] = Process(spec=spec, is_preparing=bool(spec.assets))
                    self._actions.append(Prepare(spec=spec) if spec.assets else Start(spec=spec))
        self._say_beat()

    def _reconfigure(self, settings: NodeSettings) -> None:
        self.settings = settings
        if self._is_welcome:
            self._say_hello()

    def _say_hello(self) -> None:
        settings = self.settings
        self._hellos.said(self._now)
        self._beat_at = self._now + self._beat_s
        self._sends.append(
            NodeHello(
                protocol=PROTOCOL,
                version=settings.version,
                python=settings.python,
                node_id=settings.node_id,
                hostname=settings.hostname,
                pid=settings.pid,
                slots=settings.slots,
                runs=self._runs(),
                exits=tuple(self._exits.values()),
                mesh=self._mesh(),
                config=settings.config,
                labels=dict(settings.labels),
            )
        )

    def _say_beat(self) -> None:
        if not self._is_welcome:
            return
        self._beat_at = self._now + self._beat_s
        self._sends.append(
            NodeBeat(
                revision=self._revision,
                runs=self._runs(),
                exits=tuple(self._exits.values()),
                draining=self._leave_by is not None,
                mesh=self._mesh(),
            )
        )

    def _mesh(self) -> MeshCounts:
        """All that is known here of the link; the shell adds the rest."""
        return MeshCounts(reconnects=max(0, self._welcomes - 1))

    def _runs(self) -> tuple[ProcessReport, ...]:
        return tuple(
            ProcessReport(
                proc_id=proc_id,
                role=process.spec.role,
                ex_id=process.spec.ex_id,
                job_id=process.spec.job_id,
                pid=process.pid,
                ending=process.kill_at is not None,
            )
            for proc_id, process in self._processes.items()
        )

    # --- processes ----------------------------------------------------------------------------

    def _prepared(self, proc_id: str) -> None:
        process = self._processes.get(proc_id)
        if process is not None and process.is_preparing:
            process.is_preparing = False
            self._actions.append(Start(spec=process.spec))

    def _started(self, proc_id: str, pid: int) -> None:
        process = self._processes.get(proc_id)
        if process is not None and not process.pid:
            process.pid = pid
            self._say_beat()

    def _ended_with(self, ended: ProcessExit) -> None:
        if self._processes.pop(ended.proc_id, None) is not None:
            self._exits[ended.proc_id] = ended
            self._say_beat()

    def _end(self, process: Process, grace_s: float, *, is_gentle: bool = True) -> None:
        """Drain a process for `grace_s` seconds (never longer than said before), then kill it."""
        kill_at = self._now + grace_s
        process.kill_at = kill_at if process.kill_at is None else min(process.kill_at, kill_at)
        if not is_gentle and process.sent is Sent.NOTHING:
            process.sent = Sent.TERM  # there is nothing to wait for

    def _enforce(self) -> None:
        """Send the signals that are due; a process that is still starting gets its when it runs."""
        for process in [each for each in self._processes.values() if each.is_preparing]:
            if process.kill_at is not None:
                self._drop(process)
        for proc_id, process in self._processes.items():
            if process.kill_at is None or not process.pid:
                continue
            if self._now >= process.kill_at and process.sent is not Sent.KILL:
                process.sent = Sent.KILL
                self._actions.append(Signal(proc_id=proc_id, signal="kill"))
            elif process.sent is Sent.NOTHING:
                process.sent = Sent.TERM
                self._actions.append(Signal(proc_id=proc_id, signal="term"))
        if self._exit is not None and not self._processes:
            self._finish()

    def _drop(self, process: Process) -> None:
        """A process is not wanted any more before it has begun; it counts as ended."""
        spec = process.spec
        detail = "it was told to end before it had begun"
        self._ended_with(
            ProcessExit(proc_id=spec.proc_id, ex_id=spec.ex_id, exit_code=None, signal=None, detail=detail)
        )

    # --- time and the end ---------------------------------------------------------------------

    def _tick(self) -> None:
        if self._now >= self._beat_at:
            if self._now - self._heard_at >= LINK_SILENCE_BEATS * self._beat_s:
                self._is_welcome = False
            if self._is_welcome:
                self._say_beat()
            elif self._hellos.is_due(self._now):
                self._say_hello()
            else:
                self._beat_at = self._hellos.look_at(self._now)
        if self._leave_by is not None and self._now >= self._leave_by + KILL_MARGIN_S:
            self._finish()

    def _terminate(self, *, hurry: bool) -> None:
        is_first = self._leave_by is None
        within_s = 0.0 if hurry or not is_first else self.settings.shutdown_timeout_s + KILL_MARGIN_S
        self._leave(Exit(code=0), within_s=within_s)
        for process in self._processes.values():
            self._end(process, within_s)
        if is_first:
            self._say_beat()

    def _leave(self, exit_: Exit, *, within_s: float = 0.0) -> None:
        leave_by = self._now + within_s
        self._leave_by = leave_by if self._leave_by is None else min(self._leave_by, leave_by)
        self._exit = self._exit or exit_

    def _finish(self) -> None:
        """Leave: the last word carries the exits."""
        if self._exit is not None and not self._is_gone:
            self._is_gone = True
            self._say_beat()
            self._actions.append(self._exit)
