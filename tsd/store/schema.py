"""The tables of the store.

Columns that statements filter, sort or change are columns; the rest of a job or an execution stays the JSON
document that was posted. What is a column is taken out of the document on the way in and put into it on
the way out (`tsd.store.documents`), so the two can not disagree. Times are Unix milliseconds, flags 0 or 1.

An index for lists begins with what all of them ask for, `deleted`, goes on with what narrows the list, and
ends with what sorts it. Behind that stands the number of the row, unwritten or written, which decides between
equal ones. What stands behind the number only spares the way to the row for those that a filter leaves out.
Jobs and executions are few and seldom change, so they can have many indexes; slices can not.

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
    func,
    literal_column,
)

from tsd.core.records import TERMINAL_STATUSES, SliceState
from tsd.store.sqlite import json_field, json_number

HEAD: Final = "0007"
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
    Column("name_words", Text, nullable=False, server_default="[]"),
    Index("jobs_updated", "deleted", "updated", "job_no", "created"),
    Index("jobs_created", "deleted", "created", "job_no", "updated"),
    Index("jobs_id", "deleted", "job_id"),
    sqlite_strict=True,
)
"""Jobs as posted. `active` is null unless it was posted or set. `name_words` is of `tsd.store.words`."""

is_active = func.coalesce(jobs.c.active, literal_column("1"))
"""1 for jobs that are active, also those that do not say, 0 for the others."""

Index("jobs_active_updated", jobs.c.deleted, is_active, jobs.c.updated)
Index("jobs_active_created", jobs.c.deleted, is_active, jobs.c.created)
Index("jobs_lifecycle", jobs.c.deleted, json_field(jobs.c.document, "lifecycle"))
Index("jobs_slicers", jobs.c.deleted, json_number(jobs.c.document, "slicers"))
Index("jobs_workers", jobs.c.deleted, json_number(jobs.c.document, "workers"))

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
    Column("name_words", Text, nullable=False, server_default="[]"),
    Column("failure_words", Text, nullable=False, server_default="[]"),
    Column("started", Text),
    Column("recorded", INT),
    Index("executions_job", "job_id"),
    Index("executions_updated", "deleted", "updated", "ex_no", "created", "status", "job_id"),
    Index("executions_created", "deleted", "created", "ex_no", "updated", "status", "job_id"),
    Index("executions_id", "deleted", "ex_id"),
    Index("executions_status", "deleted", "status"),
    Index("executions_status_updated", "deleted", "status", "updated"),
    Index("executions_status_created", "deleted", "status", "created"),
    Index("executions_job_id", "deleted", "job_id"),
    Index("executions_job_updated", "deleted", "job_id", "updated"),
    Index("executions_job_created", "deleted", "job_id", "created"),
    sqlite_strict=True,
)
"""Executions. `ex_no` grows with each one, whatever the clock does. `intent` is JSON of an `Intent`
(`tsd.core.cluster.records`). `name_words` and `failure_words` are of `tsd.store.words`. `started` is
when the run began, as its first controller said. `recorded` says of one that has ended what its records tell:
1 when every slice that was handed out has one, 0 when its slicers made none, null when its controller had no
time to say so."""

Index("executions_lifecycle", executions.c.deleted, json_field(executions.c.document, "lifecycle"))
Index("executions_slicers", executions.c.deleted, json_number(executions.c.document, "slicers"))
Index("executions_workers", executions.c.deleted, json_number(executions.c.document, "workers"))

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

assets = Table(
    "assets",
    metadata,
    Column("asset_no", INT, primary_key=True),
    Column("asset_id", Text, nullable=False, unique=True),
    Column("created", INT, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("description", Text),
    Column("platform", Text),
    Column("arch", Text),
    Column("node_version", INT),
    Column("python_version", Text),
    Column("language", Text, nullable=False),
    Column("is_compiled", INT, nullable=False),
    Column("size_b", INT, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("operations", Text),
    Index("assets_name", "name", "version"),
    Index("assets_created", "created"),
    sqlite_strict=True,
)
"""Bundles (`tsd.core.assets`). Versions are only compared for equality here; which is newer, `tsd.assets`
decides."""

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
"""Slice records. `slice_id` is null when `tsd.ids.slice_id` derives it, but for slices in error, which can be
searched by it. `run_by` is the `ex_no` of a later execution that runs the slice again, null while only its
own did."""

is_unfinished = slices.c.state != literal_column(str(SliceState.COMPLETED.value))
is_error = slices.c.state == literal_column(str(SliceState.ERROR.value))

# All leave out completed slices, so that a slice recorded once, when it is done, touches no index.
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
for _name in ("updated", "slicer_order"):
    Index(
        f"slices_errors_{_name}",
        slices.c.ex_no,
        slices.c[_name],
        sqlite_where=is_error,
        postgresql_where=is_error,
    )

execution_counts = Table(
    "execution_counts",
    metadata,
    Column("ex_no", INT, primary_key=True),
    Column("completed", INT, nullable=False),
    Column("failed", INT, nullable=False),
    Column("rerun_completed", INT, nullable=False),
    Column("rerun_failed", INT, nullable=False),
    Column("letters", INT, nullable=False),
    sqlite_strict=True,
)
"""Counters that are changed together with what they count (`tsd.store.counts`). Not columns of `executions`:
a row there has the whole document, and would be written anew with each batch."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("letter_no", INT, primary_key=True),
    Column("ex_no", INT, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("slice_id", Text, nullable=False),
    Column("number", INT, nullable=False),
    Column("slicer_id", INT),
    Column("slicer_order", INT),
    Column("created", INT, nullable=False),
    Column("operation", Text, nullable=False),
    Column("position", Text, nullable=False),
    Column("attempt", INT, nullable=False),
    Column("worker", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("error_words", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("raw", Text),
    Column("metadata", Text, nullable=False),
    Column("truncated", INT, nullable=False),
    Column("replayed", Text),
    Index("dead_letters_slice", "ex_no", "slice_id", "number", unique=True),
    Index("dead_letters_execution", "ex_no", "created"),
    Index("dead_letters_job", "job_id", "created"),
    Index("dead_letters_created", "created"),
    sqlite_strict=True,
)
"""Records that operations could not take (`tsd.core.letters`), numbered within their slice. Execution and job
are those of the slice. `slicer_id` and `slicer_order` are null for letters of a flush, which is no slice.
`replayed` is the id of the execution that was made to run the record again, `error_words` is of
`tsd.store.words`."""

dead_letter_losses = Table(
    "dead_letter_losses",
    metadata,
    Column("ex_no", INT, primary_key=True),
    Column("dropped", INT, nullable=False),
    sqlite_strict=True,
)
"""How many of the oldest letters of an execution gave way to later ones; only where there are any."""

node_drains = Table(
    "node_drains",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("since", INT, nullable=False),
    Column("until", INT),
    sqlite_strict=True,
)
"""Nodes on which operators want nothing to run, here or away. What still runs on one at `until` is killed;
null when it has the time that it needs."""
