"""Bundles of operations."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "assets",
        sa.Column("asset_no", _INT, primary_key=True),
        sa.Column("asset_id", sa.Text, nullable=False, unique=True),
        sa.Column("created", _INT, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("platform", sa.Text),
        sa.Column("arch", sa.Text),
        sa.Column("node_version", _INT),
        sa.Column("python_version", sa.Text),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("is_compiled", _INT, nullable=False),
        sa.Column("size_b", _INT, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("assets_name", "assets", ["name", "version"])
    op.create_index("assets_created", "assets", ["created"])
