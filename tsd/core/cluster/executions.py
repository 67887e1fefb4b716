"""One execution as the master sees it: its status, its controller, its workers, and what is wanted of it.

Methods change the state and put what has to be saved, sent or told into an `Outbox`. Where processes are
placed is decided in `placement`, for all executions together.
"""

import contextlib
import json
from datetime import datetime

import attrs

from tsd.core.cluster.crew import Crew
from tsd.core.cluster.events import (
    Outbox,
    SaveGeneration,
    SaveIntent,
    SaveMetadata,
    SaveStatus,
    StatusChanged,
)
from tsd.core.cluster.leases import Controller, Link
from tsd.core.cluster.membership import Members, Node
from tsd.core.cluster.placement import Ask, Grant
from tsd.core.cluster.records import ClusterSettings, ExecutionRecord, Intent
from tsd.core.cluster.seats import Seats
from tsd.core.execution.deaths import name_of_signal
from tsd.core.execution.lifecycle import LifecycleEvent, next_status
from tsd.core.messages import LAST_WORDS_S, ControllerWelcome, ProcessExit, ProcessReport, ProcessSpec, Wanted
from tsd.core.records import TERMINAL_STATUSES, EndedSlices, ExecutionStats, ProcessRole, Status
from tsd.ids import controller_id, parse_process_id, worker_id

STARTING = frozenset({Status.SCHEDULING, Status.INITIALIZING})
RETRY_DELAY_S = 0.1
"""Between two attempts to start the first controller, times the attempts so far."""
NO_PORT_EXIT = 71
"""Exit code of a controller that found no port (EX_OSERR of sysexits), which passes by itself."""
FINDING_PORT = "finding a port"
"""What it does meanwhile: no code of users has run yet that could end with the same code."""
MAX_PORT_DELAY_S = 5.0
RESTART_DELAY_S = 0.5
MAX_RESTART_DELAY_S = 5.0
"""Back-off of controllers that end soon after their start: 0, 0.5 s, 1 s, 2 s, 4 s, 5 s, ..."""


def describe_exit(ended: ProcessExit) -> str:
    """How a process ended, in words."""
    if ended.signal is not None:
        how = f"ended by {name_of_signal(ended.signal)}"
    elif ended.exit_code is not None:
        how = f"ended with exit code {ended.exit_code}"
    else:
        how = "ended"
    if ended.doing:
        is_begun = ended.signal is not None or ended.exit_code is not None
        how = f"{how} while {ended.doing}" if is_begun else "could not be started"
    return f"{how}: {ended.detail}" if ended.detail else how


def with_records(stats: ExecutionStats, ended: EndedSlices | None) -> ExecutionStats:
    """Counters that are at least what the records say: a controller that has just started knows less."""
    if ended is None:
        return stats
    processed, failed = max(stats.processed, ended.processed), max(stats.failed, ended.failed)
    return attrs.evolve(stats, processed=processed, failed=failed)


@attrs.define(kw_only=True)
class Execution:
    """One execution that has not ended, or whose processes are not all gone yet.

    Attributes:
        record: As it was when this master took it in.
        said: The counters that its controller said last.
        stats: Its counters: those, but never less than its records say; at the end what these say.
        ended: What it has done by its records; None when that is not known.
        crew: Its workers.
        controller: The controller of the present generation; None while there is none.
        attempts: Failed starts of the first controller, and where they failed.
        restarts: Ends of controllers since the execution last made progress.
        young_ends: Ends of controllers in a row that came soon after their start.
        not_before: No controller is placed before this.
        ready_by: Until when the slicer must be ready.
        settle_until: Before this, what another master started may still be reported by nodes.
        revision: Of the last `Wanted`.
        is_stale: The controller has to be sent a `Wanted`.
        metadata: What its controllers have said of it last, as JSON; empty when nothing.
        has_begun: A controller was welcomed, so slices may have been handed out.
        is_recorded: By the last word of its controller all that were handed out have records.
        workers_told: How many workers the controller was told that it may miss.
        port_fault: Why the last controller found no port; empty when it found one. Ports become free by
            themselves, so the next one is tried for as long as it takes.
        port_tries: How often in a row.
    """

    settings: ClusterSettings
    members: Members
    record: ExecutionRecord
    status: Status
    generation: int
    intent: Intent
    has_errors: bool
    failure_reason: str
    said: ExecutionStats
    stats: ExecutionStats
    ended: EndedSlices | None
    crew: Crew
    controller: Controller | None = None
    attempts: int = 0
    failed_nodes: set[str] = attrs.field(factory=set)
    restarts: int = 0
    young_ends: int = 0
    not_before: float = 0.0
    ready_by: float | None = None
    settle_until: float = 0.0
    revision: int = 0
    is_stale: bool = False
    sent_at: float = 0.0
    metadata: str = ""
    has_begun: bool = False
    is_recorded: bool = False
    workers_told: int = 0
    port_fault: str = ""
    port_tries: int = 0

    @classmethod
    def from_record(cls, record: ExecutionRecord, settings: ClusterSettings, members: Members) -> "Execution":
        """An execution that was just stored."""
        said = attrs.evolve(record.stats, started=record.started)
        return cls(
            settings=settings,
            members=members,
            record=record,
            status=record.status,
            generation=record.generation,
            intent=record.intent,
            has_errors=record.has_errors,
            failure_reason=record.failure_reason,
            said=said,
            stats=with_records(said, record.ended),
            ended=record.ended,
            crew=Crew(settings=settings, members=members, ex_id=record.ex_id),
        )

    @classmethod
    def restored(
        cls, record: ExecutionRecord, settings: ClusterSettings, members: Members, now: float
    ) -> "Execution":
        """An execution that a master before this one had in its hands.

        Its controller, if it had one, has one lease time to call; until then nothing is started in the
        place of what nodes that have not called yet may run.
        """
        self = cls.from_record(record, settings, members)
        self.has_begun = record.generation > 0 and record.status not in {Status.PENDING, Status.SCHEDULING}
        self.crew.seats = Seats(first_start=max(1, int(now)))
        # Nobody remembers why it has no worker, if it has none; a drain may be over whose work still waits.
        self.crew.is_displaced = True
        if record.controller_node is not None and record.status is not Status.PENDING:
            self.controller = self._expect(record.generation, record.controller_node, now)
            self.controller.grant(now, settings.controller_lease_s)
            if record.status is Status.SCHEDULING:
                self.controller.hello_by = now + settings.action_timeout_s
            self.settle_until = now + settings.controller_lease_s
        if record.status is Status.INITIALIZING:
            self.ready_by = now + settings.slicer_timeout_s
        if record.status is Status.STOPPING:
            latest = now + settings.shutdown_timeout_s + LAST_WORDS_S + settings.kill_margin_s
            saved = record.intent.stop_deadline
            deadline = latest if saved is None else min(saved, latest)
            self.intent = attrs.evolve(record.intent, stop_deadline=deadline)
        return self

    # --- facts --------------------------------------------------------------------------------

    @property
    def ex_id(self) -> str:
        """Its id."""
        return self.record.ex_id

    @property
    def is_active(self) -> bool:
        """It has not ended."""
        return self.status not in TERMINAL_STATUSES

    @property
    def is_connected(self) -> bool:
        """Its controller has said hello to this master and can be reached."""
        return (
            self.controller is not None
            and self.controller.is_welcomed
            and self.controller.link.is_reachable
            and not self.controller.is_revoked
        )

    def accepts(self, generation: int, peer: str) -> bool:
        """Whether what this peer says for this generation counts."""
        controller = self.controller
        return (
            controller is not None
            and controller.is_welcomed
            and generation == self.generation == controller.generation
            and peer == controller.proc_id
        )

    def due_at(self, now: float) -> float | None:
        """When time alone changes something here."""
        if not self.is_active:
            return None
        controller = self.controller
        if controller is None and self.status is not Status.STOPPING:
            # Thousands may wait for room, and each is asked after every event.
            return self.not_before if self.not_before > now else None
        times = []
        if self.status is Status.STOPPING:
            deadline = self.stop_deadline
            kill_at = deadline - self.settings.kill_margin_s
            times.append(deadline if now >= kill_at else kill_at)
            if now < self.settle_until:
                times.append(self.settle_until)
        if controller is None:
            times.append(self.not_before)
        else:
            if controller.hello_by is not None:
                times.append(controller.hello_by)
            if controller.is_revoked or not controller.link.is_reachable:
                times.append(controller.lease_until)
            if self.status is Status.INITIALIZING and self.ready_by is not None:
                times.append(self.ready_by)
            if now < self.settle_until:
                times.append(self.settle_until)
            if (ready_at := self.crew.seats.next_ready_at(now)) is not None:
                times.append(ready_at)
        return min((time for time in times if time > now), default=None)

    @property
    def stop_deadline(self) -> float:
        """When a stop ends in `stopped` at the latest."""
        assert self.intent.stop_deadline is not None
        return self.intent.stop_deadline

    # --- status -------------------------------------------------------------------------------

    def apply(
        self,
        event: LifecycleEvent,
        out: Outbox,
        now: float,
        *,
        host: str | None = None,
        port: int | None = None,
    ) -> None:
        """Change the status by `event` and save it with what belongs to the new status.

        Raises:
            IllegalTransition: The table has no entry; nothing was changed.
        """
        status = next_status(self.status, event)
        if status in TERMINAL_STATUSES and self.is_active:
            self._conclude_stats(now)
        carries_stats = status in TERMINAL_STATUSES or status is Status.FAILING
        out.saves.append(
            SaveStatus(
                ex_id=self.ex_id,
                expected=self.status,
                status=status,
                has_errors=self.has_errors,
                failure_reason=self.failure_reason,
                stats=self.stats if carries_stats else None,
                recorded=self._recorded() if status in TERMINAL_STATUSES else None,
                slicer_hostname=host,
                slicer_port=port,
            )
        )
        if status is not self.status:
            out.actions.append(StatusChanged(ex_id=self.ex_id, status=status, name=self.record.name))
            out.log(
                "execution.status",
                ex_id=self.ex_id,
                job_id=self.record.job_id,
                status=status,
                was=self.status,
                reason=self.failure_reason or None,
                is_warning=status in {Status.FAILED, Status.TERMINATED},
            )
        self.status = status

    def take_stats(self, stats: ExecutionStats, out: Outbox) -> None:
        """Take in what the controller says; when the run began is what its first generation said."""
        started = self.stats.started or stats.started
        if started != self.stats.started:
            save = SaveStatus(ex_id=self.ex_id, expected=self.status, status=self.status, started=started)
            out.saves.append(save)
        self.said = attrs.evolve(stats, started=started)
        self.stats = with_records(self.said, self.ended)

    def take_ended(self, ended: EndedSlices) -> None:
        """Take in what the records say now."""
        self.ended = ended
        if self.is_active:
            self.stats = with_records(self.said, ended)
        else:
            self.stats = attrs.evolve(self.stats, processed=ended.processed, failed=ended.failed)

    def _conclude_stats(self, now: float) -> None:
        """The last counters are those of the records, and of the time since the run began."""
        stats = self.said
        if self.ended is not None:
            stats = attrs.evolve(stats, processed=self.ended.processed, failed=self.ended.failed)
        with contextlib.suppress(ValueError):  # empty before the start; else a controller says what it likes
            since_start = now - datetime.fromisoformat(stats.started).timestamp()
            stats = attrs.evolve(stats, job_duration=max(1, int(since_start)))
        self.stats = stats

    def _recorded(self) -> int | None:
        """What its records tell, now that it ends; see `SaveStatus.recorded`."""
        if not self.has_begun or self.record.makes_none:
            return 0
        return 1 if self.is_recorded else None

    def take_metadata(self, text: str, out: Outbox) -> None:
        """Take in the metadata that the controller has now; empty when it has changed none."""
        if text in ("", self.metadata):
            return
        self.metadata = text
        # The next generation of the controller goes on with it.
        document = json.dumps(json.loads(self.record.document) | {"metadata": json.loads(text)})
        self.record = attrs.evolve(self.record, document=document)
        out.saves.append(SaveMetadata(ex_id=self.ex_id, metadata=text))

    def save_intent(self, out: Outbox, intent: Intent) -> None:
        """Keep what is wanted and tell the controller."""
        if intent != self.intent:
            self.intent = intent
            out.saves.append(SaveIntent(ex_id=self.ex_id, intent=intent))
            self.is_stale = True

    def note_error(self, reason: str) -> None:
        """Something went wrong that the execution's document is to tell."""
        self.has_errors = True
        self.failure_reason = reason or self.failure_reason

    def fail(self, reason: str, out: Outbox, now: float) -> None:
        """End the execution as failed; what it runs gets a short time to leave."""
        self.note_error(reason)
        self.apply(LifecycleEvent.FAILED, out, now)
        self.end_processes(now + self.settings.shutdown_timeout_s)

    # --- controller ---------------------------------------------------------------------------

    def ask(self, now: float) -> Ask | None:
        """What the execution is missing now, None for nothing."""
        if not self.is_active or self.status is Status.STOPPING:
            return None
        missing = self.crew.seats.missing(self.intent.workers, now)
        if self.controller is not None:
            # One that is dismissed takes its workers with it in a moment.
            is_over = self.controller.is_revoked or self.controller.is_dismissed
            if not missing or now < self.settle_until or is_over:
                return None
            return Ask(
                ex_id=self.ex_id, controller=False, workers=missing, has_workers=bool(self.crew.seats.placed)
            )
        if now < self.not_before:
            return None
        # What is left of an older generation makes room for the first worker in a moment.
        needs = 1 if self.members.leaves_room(self.ex_id) else 2
        return Ask(
            ex_id=self.ex_id,
            controller=True,
            needs=needs,
            workers=missing,
            avoid=frozenset(self.failed_nodes),
        )

    def take_grant(self, grant: Grant, out: Outbox, now: float) -> None:
        """Start the controller where it was placed, and keep slots for the workers until it is ready."""
        if grant.controller is not None:
            self._start_generation(grant.controller, out, now)
        for node_id in grant.workers:
            seat = self.crew.seats.hold(node_id, self.intent.workers, now)
            self.members.hold(self.members.nodes[node_id], self.ex_id, seat.number)
            self.crew.is_displaced = False
        self.fill_seats(now)

    def _start_generation(self, node_id: str, out: Outbox, now: float) -> None:
        if self.status is Status.PENDING:
            self.apply(LifecycleEvent.PLACED, out, now)
        self.generation += 1
        self.controller = self._expect(self.generation, node_id, now)
        self.controller.hello_by = now + self.settings.action_timeout_s
        self.crew.start_anew()
        self.settle_until = 0.0
        out.saves.append(
            SaveGeneration(ex_id=self.ex_id, generation=self.generation, controller_node=node_id)
        )
        out.log(
            "controller.placed",
            ex_id=self.ex_id,
            job_id=self.record.job_id,
            generation=self.generation,
            node_id=node_id,
        )
        self.members.want(self.members.nodes[node_id], self._spec(self.controller.proc_id, 0))

    def _expect(self, generation: int, node_id: str, now: float) -> Controller:
        proc_id = controller_id(self.ex_id, generation)
        return Controller(
            proc_id=proc_id,
            generation=generation,
            node_id=node_id,
            link=Link(peer=proc_id, beat_s=self.settings.heartbeat_interval_s, heard_at=now),
            started_at=now,
        )

    def welcome(self, address: str, out: Outbox, now: float) -> ControllerWelcome:
        """The controller said hello (perhaps again): its lease runs, its workers can start."""
        controller = self.controller
        assert controller is not None
        is_new = not controller.is_welcomed or controller.address != address
        controller.is_welcomed = True
        self.port_fault, self.port_tries = "", 0
        self.has_begun = True
        controller.hello_by = None
        controller.address = address
        controller.grant(now, self.settings.controller_lease_s)
        if is_new:
            host, _, port = address.rpartition("://")[2].rpartition(":")
            self._save_address(host, int(port) if port.isascii() and port.isdecimal() else 0, out, now)
        if self.status is Status.PAUSED and not self.intent.paused:
            # It was resumed while there was no controller that could say so.
            self.apply(LifecycleEvent.RESUMED, out, now)
        self.fill_seats(now)
        return ControllerWelcome(
            lease_s=self.settings.controller_lease_s,
            beat_interval_s=self.settings.heartbeat_interval_s,
            execution=self.record.document,
            resume=self.generation > 1 or self.record.has_slices,
            sources=self.record.sources or (self.ex_id,),
            mode=self.record.mode if len(self.record.sources) > 1 and not self.intent.is_recovered else "",
            wanted=self.next_wanted(now),
        )

    def _save_address(self, host: str, port: int, out: Outbox, now: float) -> None:
        if self.status is Status.SCHEDULING:
            self.apply(LifecycleEvent.CONTROLLER_READY, out, now, host=host, port=port)
            self.ready_by = now + self.settings.slicer_timeout_s
            return
        out.saves.append(
            SaveStatus(
                ex_id=self.ex_id,
                expected=self.status,
                status=self.status,
                slicer_hostname=host,
                slicer_port=port,
            )
        )

    def lose_controller(
        self, words: str, out: Outbox, now: float, *, is_fault: bool, has_drained: bool = False
    ) -> None:
        """The controller ended or was given up: its workers end, and another generation may follow.

        Args:
            words: What is known about the end.
            out: Where effects go.
            now: The time.
            is_fault: The process is to blame (not its node), so it counts towards giving up.
            has_drained: It left in order, so its workers may do so too: they flush and shut down.
        """
        controller = self.controller
        assert controller is not None
        self.controller = None
        out.saves.append(SaveGeneration(ex_id=self.ex_id, generation=self.generation, controller_node=None))
        out.log(
            "controller.lost",
            is_warning=self.is_active and is_fault and not (has_drained and self.status is Status.STOPPING),
            ex_id=self.ex_id,
            generation=self.generation,
            node_id=controller.node_id,
            reason=words,
        )
        if not self.is_active:
            return
        self.end_processes(now + self.settings.shutdown_timeout_s if has_drained else None)
        if self.status is Status.STOPPING:
            return
        if self.status in STARTING:
            self.apply(LifecycleEvent.PLACEMENT_LOST, out, now)
            if is_fault:
                self._count_attempt(controller.node_id, words, out, now)
        elif is_fault:
            self._count_restart(controller, words, out, now)

    def wait_for_port(self, fault: str, node_id: str, out: Outbox, now: float) -> None:
        """The controller found no free port on its node; another attempt follows, elsewhere if it can."""
        is_first = not self.port_tries
        self.lose_controller(f"found no port: {fault}", out, now, is_fault=False)
        self.port_fault = f"on node {node_id} {fault}"
        self.port_tries += 1
        self.failed_nodes.add(node_id)
        delay = RESTART_DELAY_S * 2.0 ** min(self.port_tries - 1, 10)
        self.not_before = now + min(MAX_PORT_DELAY_S, delay)
        if is_first:
            out.log(
                "execution.waits_for_port",
                is_warning=True,
                ex_id=self.ex_id,
                job_id=self.record.job_id,
                node_id=node_id,
                reason=fault,
            )

    def _count_attempt(self, node_id: str, words: str, out: Outbox, now: float) -> None:
        self.attempts += 1
        self.failed_nodes.add(node_id)
        self.not_before = now + RETRY_DELAY_S * self.attempts
        if self.attempts >= self.settings.slicer_allocation_attempts:
            self.fail(
                f"Failed to provision execution {self.ex_id}, caused by Failed to allocate"
                f" execution_controller to nodes after {self.attempts} attempts; on {node_id} it {words}",
                out,
                now,
            )

    def _count_restart(self, controller: Controller, words: str, out: Outbox, now: float) -> None:
        self.restarts += 1
        is_young = now - controller.started_at < self.settings.young_s
        self.young_ends = self.young_ends + 1 if is_young else 0
        if self.young_ends > 1:
            delay = RESTART_DELAY_S * 2.0 ** min(self.young_ends - 2, 10)
            self.not_before = now + min(MAX_RESTART_DELAY_S, delay)
        if self.restarts > self.settings.controller_restarts:
            self.fail(
                f"execution {self.ex_id}: the controller ended {self.restarts} times without progress;"
                f" the last one {words}",
                out,
                now,
            )

    # --- workers ------------------------------------------------------------------------------

    def fill_seats(self, now: float) -> None:
        """Start the workers for which slots are held, if the controller can take them."""
        controller = self.controller
        if controller is None or not controller.is_welcomed or not self.is_active:
            return
        for seat in self.crew.seats.held:
            assert seat.node_id is not None
            node = self.members.nodes[seat.node_id]
            node.held.discard((self.ex_id, seat.number))
            start = self.crew.seats.next_start(seat.number)
            proc_id = worker_id(self.ex_id, self.generation, seat.number, start)
            self.crew.seats.fill(seat, proc_id, now)
            self.members.want(node, self._spec(proc_id, seat.number))

    def workers_missed(self, now: float) -> int:
        """How many workers the controller may miss: none while it is the master that can place none.

        That is so when a drain has left no slot for any, and while it still waits for nodes to call.
        """
        is_held_up = self.crew.is_displaced or now < self.settle_until
        return 0 if is_held_up and not self.crew.seats.placed else self.intent.workers

    def dismiss_controller(self, out: Outbox, now: float) -> None:
        """The node of the controller, which was told to end, is drained: its end is no fault."""
        controller = self.controller
        if controller is None:
            return
        controller.is_dismissed = True
        self.crew.let_go_of_all()
        if self.members.node_of(self.ex_id, controller.proc_id) is None:  # its node had not heard of it yet
            self.lose_controller("was not started: its node is drained", out, now, is_fault=False)

    def worker_ended(self, ended: ProcessExit, now: float, *, is_fault: bool) -> None:
        """A worker of this generation ended; the controller hears of it until it has said so."""
        if self.controller is not None:
            self.crew.end(ended, now, is_fault=is_fault)
            self.is_stale = True

    def set_workers(self, count: int, out: Outbox, now: float) -> None:
        """Change the wanted number; those that are too many drain, highest numbers first."""
        self.save_intent(out, attrs.evolve(self.intent, workers=count))
        self.crew.shrink(count, now)

    def adopt(self, node: Node, run: ProcessReport, now: float) -> ProcessSpec | None:
        """Recognise a process that a master before this one had placed.

        A worker that is to leave takes no seat: another may have it already.

        Returns:
            What the node is to go on running, None when the process is not wanted.
        """
        controller = self.controller
        name = parse_process_id(run.proc_id)
        if not self.is_active or controller is None or controller.is_revoked:
            return None
        if name is None or name.generation != self.generation:
            return None
        if name.number == 0:
            # It was placed on one node, and a process does not move.
            is_placed = self.members.node_of(self.ex_id, run.proc_id) is not None
            if is_placed or controller.node_id != node.node_id:
                return None
            controller.is_dismissed = run.ending
            return self._spec(run.proc_id, 0)
        if not self.settle_until:
            return None
        is_leaving = run.ending or node.is_to_be_empty or self.is_surplus(run.proc_id)
        if not is_leaving:
            if not self.crew.seats.adopt(name.number, node.node_id, run.proc_id, now):
                return None
            self.crew.is_displaced = False
        return self._spec(run.proc_id, name.number)

    def is_surplus(self, proc_id: str) -> bool:
        """Whether a process is a worker beyond the number that is wanted."""
        name = parse_process_id(proc_id)
        return name is not None and name.number > self.intent.workers

    def _spec(self, proc_id: str, number: int) -> ProcessSpec:
        is_worker = number > 0
        return ProcessSpec(
            proc_id=proc_id,
            role=ProcessRole.WORKER if is_worker else ProcessRole.CONTROLLER,
            ex_id=self.ex_id,
            job_id=self.record.job_id,
            generation=self.generation,
            number=number,
            dial=self.controller.address if is_worker and self.controller else "",
            assets=self.record.assets,
            env=self.record.env,
            log_level=self.intent.log_level,
        )

    # --- the end ------------------------------------------------------------------------------

    def end_processes(self, until: float | None) -> None:
        """End everything that is placed: killed at once, or drained until `until`."""
        self.crew.disband()
        for proc_id in self.members.processes_of(self.ex_id):
            if until is None:
                self.members.kill(self.ex_id, proc_id)
            else:
                self.members.end(self.ex_id, proc_id, until=until)

    # --- what the controller is told -----------------------------------------------------------

    def next_wanted(self, now: float) -> Wanted:
        """The wanted state under a new revision. Revisions follow the clock, as those of nodes do."""
        self.revision = max(self.revision + 1, int(now * 1000))
        self.is_stale = False
        self.workers_told = self.workers_missed(now)
        return self.present_wanted(now)

    def present_wanted(self, now: float) -> Wanted:
        """The wanted state as it was sent last."""
        self.sent_at = now
        stop = None
        within_s = 0.0
        if self.status is Status.STOPPING:
            stop = "now" if self.intent.stop_force else "drain"
            within_s = max(0.0, self.stop_deadline - self.settings.kill_margin_s - LAST_WORDS_S - now)
        return Wanted(
            revision=self.revision,
            paused=self.intent.paused,
            stop=stop,
            stop_within_s=within_s,
            workers=self.workers_told,
            exits=tuple(self.crew.exits.values()),
            log_level=self.intent.log_level,
        )
