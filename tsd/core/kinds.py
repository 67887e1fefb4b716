"""Which messages go over which link, and the name that each has there.

A link reads only what its other side says. So a message that has come the wrong way, like one that only a
newer version knows, is a bad frame: it is counted and dropped, and no machine ever sees it.
"""

from typing import get_args

from tsd.core.messages import (
    Again,
    Alive,
    AssetAsk,
    AssetPart,
    AssetUnavailable,
    ControllerBeat,
    ControllerHello,
    ControllerWelcome,
    FlushKept,
    FromController,
    FromNode,
    FromWorker,
    GiveBack,
    LeaseGranted,
    NodeBeat,
    NodeHello,
    NodeWanted,
    NodeWelcome,
    RecordBatch,
    RecordsSaved,
    RecoveryAsk,
    RecoveryPage,
    Refused,
    Results,
    ResultsSeen,
    Slices,
    StatusIs,
    StatusReport,
    StopWorker,
    ToController,
    ToLibrary,
    ToNode,
    ToWorker,
    Wanted,
    WorkerBeat,
    WorkerBye,
    WorkerHello,
    WorkerSettings,
    WorkerWelcome,
)
from tsd.ids import parse_process_id

KINDS: dict[str, type] = {
    "again": Again,
    "refused": Refused,
    "alive": Alive,
    "node-hello": NodeHello,
    "node-welcome": NodeWelcome,
    "node-wanted": NodeWanted,
    "node-beat": NodeBeat,
    "asset-ask": AssetAsk,
    "asset-part": AssetPart,
    "asset-not": AssetUnavailable,
    "ctl-hello": ControllerHello,
    "ctl-welcome": ControllerWelcome,
    "wanted": Wanted,
    "recovery-ask": RecoveryAsk,
    "recovery-page": RecoveryPage,
    "records": RecordBatch,
    "saved": RecordsSaved,
    "status": StatusReport,
    "status-is": StatusIs,
    "ctl-beat": ControllerBeat,
    "lease": LeaseGranted,
    "hello": WorkerHello,
    "welcome": WorkerWelcome,
    "slices": Slices,
    "results": Results,
    "seen": ResultsSeen,
    "give-back": GiveBack,
    "flush": FlushKept,
    "beat": WorkerBeat,
    "settings": WorkerSettings,
    "stop": StopWorker,
    "bye": WorkerBye,
}
"""The kind frame of each message class."""


def _kinds_of(*messages: object) -> dict[str, type]:
    """Those of these messages and of the members of these unions."""
    classes = {member for each in messages for member in (get_args(each) or (each,))}
    return {kind: message for kind, message in KINDS.items() if message in classes}


NODE_TO_MASTER = _kinds_of(FromNode, AssetAsk)
MASTER_TO_NODE = _kinds_of(ToNode, ToLibrary)
CONTROLLER_TO_MASTER = _kinds_of(FromController)
MASTER_TO_CONTROLLER = _kinds_of(ToController)
WORKER_TO_CONTROLLER = _kinds_of(FromWorker)
CONTROLLER_TO_WORKER = _kinds_of(ToWorker)
TO_MASTER = NODE_TO_MASTER | CONTROLLER_TO_MASTER
"""Its one listener serves nodes and controllers; `misplaced` tells them apart."""
FROM_MASTER = MASTER_TO_NODE | MASTER_TO_CONTROLLER


def misplaced(peer: str, message: object) -> str:
    """Why a peer of the master with this identity can not say this; empty when it can.

    A process has its `ProcessId` for a name, a node `<node_id>~<start>`.
    """
    is_of_node = isinstance(message, NodeHello | NodeBeat | AssetAsk)
    if is_of_node == (parse_process_id(peer) is not None):
        return f"{type(message).__name__} comes from a {'process' if is_of_node else 'node'}"
    if isinstance(message, NodeHello) and peer.rpartition("~")[0] != message.node_id:
        return f"NodeHello of {message.node_id} comes from another node"
    return ""
