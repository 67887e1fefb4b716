"""Indexes for lists, and the words of texts for filters."""

import json
import re

import sqlalchemy as sa
from alembic import op

from tsd.ids import slice_id

revision = "0002"
down_revision = "0001"

_INDEXES: dict[str, dict[str, list[str | sa.TextClause]]] = {
    "jobs": {
        "jobs_updated": ["deleted", "updated", "job_no", "created"],
        "jobs_created": ["deleted", "created", "job_no", "updated"],
        "jobs_id": ["deleted", "job_id"],
        "jobs_active_updated": ["deleted", sa.text("coalesce(active, 1)"), "updated"],
        "jobs_active_created": ["deleted", sa.text("coalesce(active, 1)"), "created"],
    },
    "executions": {
        "executions_updated": ["deleted", "updated", "ex_no", "created", "status", "job_id"],
        "executions_created": ["deleted", "created", "ex_no", "updated", "status", "job_id"],
        "executions_id": ["deleted", "ex_id"],
        "executions_status": ["deleted", "status"],
        "executions_status_updated": ["deleted", "status", "updated"],
        "executions_status_created": ["deleted", "status", "created"],
        "executions_job_id": ["deleted", "job_id"],
        "executions_job_updated": ["deleted", "job_id", "updated"],
        "executions_job_created": ["deleted", "job_id", "created"],
    },
}
_REPLACED = {"jobs_updated", "jobs_created", "executions_updated", "executions_created"}
_BATCH = 1000


def upgrade() -> None:
    """Add columns, what belongs into them, and indexes."""
    _add_words("jobs", "job_no", {"name_words": "document"})
    _add_words("executions", "ex_no", {"name_words": "document", "failure_words": "failure_reason"})
    for table, indexes in _INDEXES.items():
        for name, columns in indexes.items():
            if name in _REPLACED:
                op.drop_index(name, table)
            op.create_index(name, table, columns)
        _index_documents(table)
    _index_errors()
    _name_errors()


def _index_documents(table: str) -> None:
    lifecycle = """json_extract(document, '$."lifecycle"')"""
    op.create_index(f"{table}_lifecycle", table, ["deleted", sa.text(lifecycle)])
    for name in ("slicers", "workers"):
        number = f"""json_extract(document, '$."{name}"') + 0"""
        op.create_index(f"{table}_{name}", table, ["deleted", sa.text(number)])


def _index_errors() -> None:
    is_error = sa.text("state = 3")
    for column in ("updated", "slicer_order"):
        op.create_index(
            f"slices_errors_{column}",
            "slices",
            ["ex_no", column],
            sqlite_where=is_error,
            postgresql_where=is_error,
        )


def _name_errors() -> None:
    """Store the ids of slices in error."""
    connection = op.get_bind()
    key = ("ex_no", "slicer_id", "slicer_order")
    slices = sa.table("slices", *map(sa.column, (*key, "state", "slice_id")))
    executions = sa.table("executions", sa.column("ex_no"), sa.column("ex_id"))
    unnamed = (
        sa.select(slices.c.ex_no, slices.c.slicer_id, slices.c.slicer_order, executions.c.ex_id)
        .join_from(slices, executions, executions.c.ex_no == slices.c.ex_no)
        .where(slices.c.state == sa.literal_column("3"), slices.c.slice_id.is_(None))
    )
    change = sa.update(slices).values(slice_id=sa.bindparam("own_id"))
    change = change.where(*(slices.c[name] == sa.bindparam(f"{name}_of_row") for name in key))
    rows = connection.execute(unnamed).fetchall()
    for start in range(0, len(rows), _BATCH):
        connection.execute(
            change,
            [
                {
                    "ex_no_of_row": ex_no,
                    "slicer_id_of_row": slicer_id,
                    "slicer_order_of_row": slicer_order,
                    "own_id": slice_id(ex_id, slicer_id, slicer_order),
                }
                for ex_no, slicer_id, slicer_order, ex_id in rows[start : start + _BATCH]
            ],
        )


def _add_words(table: str, key: str, sources: dict[str, str]) -> None:
    """Add a column of words for each source; that of a document is its name."""
    connection = op.get_bind()
    for name in sources:
        op.add_column(table, sa.Column(name, sa.Text, nullable=False, server_default="[]"))
    rows = sa.table(table, sa.column(key), *map(sa.column, {*sources, *sources.values()}))
    change = sa.update(rows).where(rows.c[key] == sa.bindparam("row"))
    change = change.values({name: sa.bindparam(f"{name}_of_row") for name in sources})
    last = 0
    while True:
        batch = connection.execute(
            sa.select(rows).where(rows.c[key] > last).order_by(rows.c[key]).limit(_BATCH)
        ).mappings()
        found = batch.fetchall()
        if not found:
            return
        connection.execute(
            change,
            [
                {"row": row[key]}
                | {f"{name}_of_row": _words(source, row[source]) for name, source in sources.items()}
                for row in found
            ],
        )
        last = found[-1][key]


def _words(source: str, stored: str) -> str:
    text = json.loads(stored).get("name") if source == "document" else stored
    words = re.findall(r"\w+", text.lower()) if isinstance(text, str) else []
    return json.dumps(words, separators=(",", ":"))
