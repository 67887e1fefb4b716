"""Nodes that operators drain."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "node_drains",
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("since", _INT, nullable=False),
        sa.Column("until", _INT),
        sqlite_strict=True,
    )
