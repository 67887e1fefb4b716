"""The first schema.

Written out, not taken from `tsd.store.schema`: that one changes, this one stays what it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNENDED = sa.text(
    "(status NOT IN ('completed', 'failed', 'rejected', 'stopped', 'terminated')) AND deleted = 0"
)
_UNFINISHED = sa.text("state != 2")
_ERROR = sa.text("state = 3")


def upgrade() -> None:
    """Make all tables."""
    _make_jobs()
    _make_executions()
    _make_slices()


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_no", _INT, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False, unique=True),
        sa.Column("created", _INT, nullable=False),
        sa.Column("updated", _INT, nullable=False),
        sa.Column("active", _INT),
        sa.Column("deleted", _INT, nullable=False),
        sa.Column("deleted_on", _INT),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("jobs_updated", "jobs", ["deleted", "updated"])
    op.create_index("jobs_created", "jobs", ["deleted", "created"])


def _make_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("ex_no", _INT, primary_key=True),
        sa.Column("ex_id", sa.Text, nullable=False, unique=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("generation", _INT, nullable=False),
        sa.Column("controller_node", sa.Text),
        sa.Column("intent", sa.Text, nullable=False),
        sa.Column("created", _INT, nullable=False),
        sa.Column("updated", _INT, nullable=False),
        sa.Column("has_errors", _INT, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("slicer_stats", sa.Text, nullable=False),
        sa.Column("slicer_hostname", sa.Text),
        sa.Column("slicer_port", _INT),
        sa.Column("recovered_execution", sa.Text),
        sa.Column("recovered_slice_type", sa.Text),
        sa.Column("deleted", _INT, nullable=False),
        sa.Column("deleted_on", _INT),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("executions_job", "executions", ["job_id"])
    op.create_index("executions_updated", "executions", ["deleted", "updated"])
    op.create_index("executions_created", "executions", ["deleted", "created"])
    _make_partial_index("executions_one_a_job", "executions", ["job_id"], _UNENDED, unique=True)


def _make_slices() -> None:
    op.create_table(
        "slices",
        sa.Column("ex_no", _INT, primary_key=True),
        sa.Column("slicer_id", _INT, primary_key=True),
        sa.Column("slicer_order", _INT, primary_key=True),
        sa.Column("state", _INT, nullable=False),
        sa.Column("created", _INT, nullable=False),
        sa.Column("updated", _INT, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("retry_count", _INT, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("slice_id", sa.Text),
        sa.Column("run_by", _INT),
        sa.Column("analytics", sa.LargeBinary),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    keys = ["ex_no", "slicer_id", "slicer_order", "state"]
    _make_partial_index("slices_unfinished", "slices", keys, _UNFINISHED)
    _make_partial_index("slices_errors", "slices", ["state", "updated"], _ERROR)


def _make_partial_index(
    name: str, table: str, columns: list[str], condition: sa.TextClause, *, unique: bool = False
) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
