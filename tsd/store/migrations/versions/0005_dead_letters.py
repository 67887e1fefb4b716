"""Records that operations could not take."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "dead_letters",
        sa.Column("letter_no", _INT, primary_key=True),
        sa.Column("ex_no", _INT, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("slice_id", sa.Text, nullable=False),
        sa.Column("number", _INT, nullable=False),
        sa.Column("slicer_id", _INT),
        sa.Column("slicer_order", _INT),
        sa.Column("created", _INT, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("attempt", _INT, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("error_words", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("form", sa.Text, nullable=False),
        sa.Column("raw", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("truncated", _INT, nullable=False),
        sa.Column("replayed", sa.Text),
        sqlite_strict=True,
    )
    op.create_index("dead_letters_slice", "dead_letters", ["ex_no", "slice_id", "number"], unique=True)
    op.create_index("dead_letters_execution", "dead_letters", ["ex_no", "created"])
    op.create_index("dead_letters_job", "dead_letters", ["job_id", "created"])
    op.create_index("dead_letters_created", "dead_letters", ["created"])
    op.create_table(
        "dead_letter_losses",
        sa.Column("ex_no", _INT, primary_key=True),
        sa.Column("dropped", _INT, nullable=False),
        sqlite_strict=True,
    )
