"""What controllers say: hello, beats and status reports; and which of them are believed."""

import attrs

from tsd.core.cluster.counting import Counting
from tsd.core.cluster.events import Outbox
from tsd.core.cluster.executions import Execution
from tsd.core.cluster.membership import Members
from tsd.core.cluster.records import ClusterSettings
from tsd.core.cluster.reports import take_report
from tsd.core.cluster.roster import Roster
from tsd.core.cluster.unconnected import tell_unconnected
from tsd.core.counts import ControllerCounts
from tsd.core.fields import REVISION_FAR
from tsd.core.messages import (
    PROTOCOL,
    Again,
    Alive,
    ControllerBeat,
    ControllerHello,
    LeaseGranted,
    RecordBatch,
    RecoveryAsk,
    Refused,
    StatusIs,
    StatusReport,
)
from tsd.core.messages import FromController as ControllerMessage
from tsd.core.records import Status


@attrs.define(kw_only=True)
class ControllerDesk:
    """Welcomes controllers, renews their leases, and gives up those that are lost."""

    settings: ClusterSettings
    members: Members
    roster: Roster
    counting: Counting

    def hear(self, peer: str, message: ControllerMessage, out: Outbox, now: float) -> None:
        """Take in a message of a controller; batches and recovery questions are not for the core."""
        match message:
            case ControllerHello():
                self._hello(peer, message, out, now)
            case StatusReport():
                execution = self._believed(peer, message, out, now)
                if execution is not None and take_report(execution, message, out, now):
                    out.send(peer, StatusIs(seq=message.seq, status=execution.status))
            case ControllerBeat():
                execution = self._believed(peer, message, out, now)
                if execution is not None:
                    self._beat(execution, message, out, now)
            case RecordBatch() | RecoveryAsk():
                pass

    def turn_away(self, ex_id: str, generation: int, peer: str) -> Again | Refused:
        """What to answer a controller that is not believed: say hello first, or end."""
        execution = self.roster.get(ex_id)
        if execution is None or not execution.is_active:
            return Refused(reason=f"execution {ex_id} has ended")
        controller = execution.controller
        if controller is None or controller.proc_id != peer or generation != execution.generation:
            reason = f"generation {generation} of {ex_id} is over, it is now {execution.generation}"
            return Refused(reason=reason)
        if controller.is_revoked:
            return Refused(reason=f"generation {generation} of {ex_id} is being ended")
        return Again()

    def not_sent(self, execution: Execution, peer: str, now: float) -> None:
        """The link to a controller is down."""
        controller = execution.controller
        if controller is not None and controller.proc_id == peer:
            controller.link.fail(now)

    def check(self, execution: Execution, out: Outbox, now: float) -> None:
        """Give up a controller that did not call, can not be reached, or is never ready."""
        controller = execution.controller
        if controller is None or not execution.is_active:
            return
        node = self.members.nodes.get(controller.node_id)
        is_away = node is not None and not node.link.is_reachable and not controller.is_revoked
        if controller.hello_by is not None and now >= controller.hello_by:
            words = f"did not call within {self.settings.action_timeout_s:g} s"
            execution.lose_controller(words, out, now, is_fault=not controller.is_dismissed)
        elif controller.is_lost(now) and not is_away:
            words = "could not be reached and its lease ran out"
            execution.lose_controller(words, out, now, is_fault=False)
        elif execution.status is Status.INITIALIZING and execution.ready_by and now >= execution.ready_by:
            reason = f"the slicer was not ready within {self.settings.slicer_timeout_s:g} s"
            execution.fail(f"execution {execution.ex_id}: {reason}", out, now)

    def probe(self, out: Outbox, now: float) -> None:
        """Try the links to silent controllers."""
        for execution in self.roster:
            controller = execution.controller
            if controller is not None and controller.hello_by is None and controller.link.probe(now):
                out.send(controller.proc_id, Alive())

    def _hello(self, peer: str, hello: ControllerHello, out: Outbox, now: float) -> None:
        if hello.protocol != PROTOCOL:
            reason = f"this master speaks protocol {PROTOCOL}, the controller speaks {hello.protocol}"
            out.send(peer, Refused(reason=reason))
            return
        execution = self.roster.get(hello.ex_id)
        answer = self.turn_away(hello.ex_id, hello.generation, peer)
        if execution is None or execution.controller is None or isinstance(answer, Refused):
            out.send(peer, answer)
            return
        execution.controller.link.hear(now)
        self.roster.touch(execution)
        self._count(execution, peer, hello.counts)
        out.send(peer, execution.welcome(hello.address, out, now))

    def _believed(
        self, peer: str, message: StatusReport | ControllerBeat, out: Outbox, now: float
    ) -> Execution | None:
        """The execution for which the peer may speak; others are turned away."""
        execution = self.roster.get(message.ex_id)
        if (
            execution is None
            or execution.controller is None
            or not execution.accepts(message.generation, peer)
        ):
            out.send(peer, self.turn_away(message.ex_id, message.generation, peer))
            return None
        execution.controller.link.hear(now)
        self.roster.touch(execution)
        self._count(execution, peer, message.counts)
        execution.take_metadata(message.metadata, out)
        return execution

    def _count(self, execution: Execution, peer: str, counts: ControllerCounts) -> None:
        """Add up what a controller counts; which slices have ended its records say, if there are any."""
        if execution.ended is not None:
            counts = attrs.evolve(counts, work=attrs.evolve(counts.work, completed=0, failed=0))
        self.counting.hear_controller(execution.ex_id, peer, counts)

    def _beat(self, execution: Execution, beat: ControllerBeat, out: Outbox, now: float) -> None:
        controller = execution.controller
        assert controller is not None
        execution.take_stats(beat.stats, out)
        controller.is_replaceable = beat.replaceable
        controller.connected = frozenset(beat.workers)
        tell_unconnected(execution, out, now)
        if controller.is_revoked:
            out.send(controller.proc_id, Refused(reason=f"node {controller.node_id} was lost"))
            return
        controller.grant(now, self.settings.controller_lease_s)
        out.send(controller.proc_id, LeaseGranted(sent_at=beat.sent_at))
        execution.crew.give_up(beat.lost_workers, now)
        execution.crew.forget_exits(beat.exits_seen)
        if execution.revision < beat.revision < REVISION_FAR:
            # Another master's clock was ahead of ours; go on above what the controller has taken in.
            execution.revision = beat.revision
            execution.is_stale = True
        elif beat.revision < execution.revision and now - execution.sent_at >= controller.link.beat_s / 2:
            out.send(controller.proc_id, execution.present_wanted(now))
