"""Counters of the slices of each execution, counted once for what is stored; and what is known of its end."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTERS = ("completed", "failed", "rerun_completed", "rerun_failed", "letters")
# Rows come in the order of `ex_no`, so nothing is sorted; only executions that were recovered have rows that
# a later one ran again.
_OWN = """
    SELECT ex_no, sum(state = 2), sum(state = 3) FROM slices GROUP BY ex_no
"""
_RERUN = """
    SELECT run_by, sum(state = 2), sum(state = 3) FROM slices
    WHERE run_by IS NOT NULL AND ex_no IN (
        SELECT ex_no FROM executions WHERE ex_id IN (SELECT recovered_execution FROM executions))
    GROUP BY run_by
"""
_LETTERS = "SELECT ex_no, count(*) FROM dead_letters GROUP BY ex_no"


def upgrade() -> None:
    """Make the table and count; what ended before is known to be recorded only where all was completed."""
    op.add_column("executions", sa.Column("started", sa.Text))
    op.add_column("executions", sa.Column("recorded", _INT))
    op.execute("UPDATE executions SET recorded = 1 WHERE status = 'completed'")
    op.create_table(
        "execution_counts",
        sa.Column("ex_no", _INT, primary_key=True),
        *(sa.Column(name, _INT, nullable=False) for name in _COUNTERS),
        sqlite_strict=True,
    )
    _add(("completed", "failed"), _OWN)
    _add(("rerun_completed", "rerun_failed"), _RERUN)
    _add(("letters",), _LETTERS)


def _add(names: tuple[str, ...], counted: str) -> None:
    """Store counters that a statement finds; the others of a row are 0 or stay."""
    connection = op.get_bind()
    insertion = (
        f"INSERT INTO execution_counts (ex_no, {', '.join(_COUNTERS)})"  # noqa: S608 - only constants
        f" VALUES (?, {', '.join(['?'] * len(_COUNTERS))}) ON CONFLICT (ex_no) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in names)
    )
    for ex_no, *numbers in connection.exec_driver_sql(counted).fetchall():
        values = dict(zip(names, numbers, strict=True))
        connection.exec_driver_sql(insertion, (ex_no, *(values.get(name, 0) for name in _COUNTERS)))
