"""Where the parts of a machine put what they want sent and done."""

import attrs

from tsd.core.execution.events import ControllerAction, Effects, WorkerAction
from tsd.core.messages import Message

LISTENER = ""
"""Peer of sends to the listener that this process dials."""


@attrs.define
class Outbox:
    """Gathers the effects of one event."""

    sends: list[tuple[str, Message]] = attrs.field(factory=list)
    actions: list[ControllerAction | WorkerAction] = attrs.field(factory=list)

    def send(self, peer: str, message: Message) -> None:
        """Send `message` to `peer`."""
        self.sends.append((peer, message))

    def act(self, action: ControllerAction | WorkerAction) -> None:
        """Have the shell do something."""
        self.actions.append(action)

    def take(self) -> Effects:
        """All that was gathered since the last call."""
        effects = Effects(self.sends, self.actions)
        self.sends = []
        self.actions = []
        return effects
