"""Which operations are in a bundle, as a JSON list of names; null when nobody has looked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; bundles that are there were not looked into."""
    op.add_column("assets", sa.Column("operations", sa.Text))
