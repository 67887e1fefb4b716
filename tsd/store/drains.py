"""The nodes that operators drain, in the store."""

from sqlalchemy import Connection, delete, insert, select

from tsd.core.cluster.events import SaveDrain
from tsd.core.cluster.records import Drain
from tsd.store.schema import node_drains


def store_drain(connection: Connection, save: SaveDrain) -> None:
    """Put a wish in the place of the one that is there, or take that away.

    Args:
        connection: In a transaction.
        save: What the cluster core decided.
    """
    connection.execute(delete(node_drains).where(node_drains.c.node_id == save.node_id))
    if (drain := save.drain) is not None:
        values = {
            "node_id": drain.node_id,
            "since": round(drain.since * 1000),
            "until": None if drain.until is None else round(drain.until * 1000),
        }
        connection.execute(insert(node_drains).values(values))


def load_drains(connection: Connection) -> list[Drain]:
    """All wishes, by node id; those of nodes that will never come back too."""
    rows = connection.execute(select(node_drains).order_by(node_drains.c.node_id))
    return [
        Drain(
            node_id=row.node_id,
            since=row.since / 1000,
            until=None if row.until is None else row.until / 1000,
        )
        for row in rows
    ]
