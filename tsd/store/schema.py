"""The tables of the store.

Columns that statements filter, sort or change are columns; the rest of a job or an execution stays the JSON
document that was posted. What is a column is taken out of the document on the way in and put into it on
the way out (`tsd.store.documents`), so the two can not disagree. Times are Unix milliseconds, flags 0 or 1.

A change here needs a new `HEAD` and a migration under migrations/versions, written by hand after the one
before it. New databases are made from these tables, old ones by the migrations; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    bindparam,
    literal_column,
)

from tsd.core.records import TERMINAL_STATUSES, SliceState

HEAD: Final = "0001"
"""Version of this schema: the last migration. Later versions compare as greater text."""

INT = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite integers have 64 bits, and STRICT tables know no other name for them."""

metadata = MetaData()

version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""One row: the version of the schema. The name and form are Alembic's."""

jobs = Table(
    "jobs",
    metadata,
    Column("job_no", INT, primary_key=True),
    Column("job_id", Text, nullable=False, unique=True),
    Column("created", INT, nullable=False),
    Column("updated", INT, nullable=False),
    Column("active", INT),
    Column("deleted", INT, nullable=False),
    Column("deleted_on", INT),
    Column("document", Text, nullable=False),
    Index("jobs_updated", "deleted", "updated"),
    Index("jobs_created", "deleted", "created"),
    sqlite_strict=True,
)
"""Jobs as posted. `active` is null unless it was posted or set."""

executions = Table(
    "executions",
    metadata,
    Column("ex_no", INT, primary_key=True),
    Column("ex_id", Text, nullable=False, unique=True),
    Column("job_id", Text, ForeignKey("jobs.job_id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("generation", INT, nullable=False),
    Column("controller_node", Text),
    Column("intent", Text, nullable=False),
    Column("created", INT, nullable=False),
    Column("updated", INT, nullable=False),
    Column("has_errors", INT, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("slicer_stats", Text, nullable=False),
    Column("slicer_hostname", Text),
    Column("slicer_port", INT),
    Column("recovered_execution", Text),
    Column("recovered_slice_type", Text),
    Column("deleted", INT, nullable=False),
    Column("deleted_on", INT),
    Column("document", Text, nullable=False),
    Index("executions_job", "job_id"),
    Index("executions_updated", "deleted", "updated"),
    Index("executions_created", "deleted", "created"),
    sqlite_strict=True,
)
"""Executions. `ex_no` grows with each one, whatever the clock does. `intent` is JSON of an `Intent`
(`tsd.core.cluster.records`)."""

# Written out in the statement, not bound: an index with a condition is used only by statements that
# are seen to have the same condition.
_TERMINAL: BindParameter[list[str]] = bindparam(
    "terminal", sorted(TERMINAL_STATUSES), expanding=True, literal_execute=True
)

unended = executions.c.status.not_in(_TERMINAL) & (executions.c.deleted == literal_column("0"))
"""The executions that keep their job from starting once more, and that a restarted master takes up."""

# Two starts of one job at the same time can not both be stored, whoever checked what before.
Index(
    "executions_one_a_job",
    executions.c.job_id,
    unique=True,
    sqlite_where=unended,
    postgresql_where=unended,
)

slices = Table(
    "slices",
    metadata,
    # No foreign key: it would be looked up for each of tens of thousands of rows a second, and the
    # transaction that writes rows has just read their execution.
    Column("ex_no", INT, primary_key=True),
    Column("slicer_id", INT, primary_key=True),
    Column("slicer_order", INT, primary_key=True),
    Column("state", INT, nullable=False),
    Column("created", INT, nullable=False),
    Column("updated", INT, nullable=False),
    Column("request", Text, nullable=False),
    Column("retry_count", INT, nullable=False),
    Column("error", Text),
    Column("slice_id", Text),
    Column("run_by", INT),
    Column("analytics", LargeBinary),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""Slice records. `slice_id` is null when `tsd.ids.slice_id` derives it. `run_by` is the `ex_no` of a later
execution that runs the slice again, null while only its own did."""

is_unfinished = slices.c.state != literal_column(str(SliceState.COMPLETED.value))
is_error = slices.c.state == literal_column(str(SliceState.ERROR.value))

# Both leave out completed slices, so that a slice recorded once, when it is done, touches no index.
Index(
    "slices_unfinished",
    slices.c.ex_no,
    slices.c.slicer_id,
    slices.c.slicer_order,
    slices.c.state,
    sqlite_where=is_unfinished,
    postgresql_where=is_unfinished,
)
Index("slices_errors", slices.c.state, slices.c.updated, sqlite_where=is_error, postgresql_where=is_error)
