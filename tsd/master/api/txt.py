"""`/txt`: lists as text tables for people at a terminal."""

from collections.abc import Sequence
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio

from tsd.errors import InvalidRequest
from tsd.master.api import parameters, queries, table
from tsd.master.service import MasterService

_WORKERS = ("assignment", "job_id", "ex_id", "node_id", "pid")
_NODES = ("node_id", "state", "hostname", "total", "active", "pid", "teraslice_version", "node_version")
_JOBS = ("job_id", "name", "active", "lifecycle", "slicers", "workers", "_created", "_updated")
_EXECUTIONS = (
    "name",
    "lifecycle",
    "slicers",
    "workers",
    "_status",
    "ex_id",
    "job_id",
    "_created",
    "_updated",
)
_CONTROLLERS = (
    "name",
    "job_id",
    "workers_available",
    "workers_active",
    "failed",
    "queued",
    "processed",
)
_TEXT_TYPE = "text/html; charset=utf-8"
"""What Teraslice says of its tables, and what clients therefore may match."""


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""

    @app.get("/txt/workers")
    async def workers_table() -> Response:
        rows = [
            {**process, "node_id": node["node_id"], "hostname": node["hostname"]}
            for node in service.cluster.state().values()
            if node["state"] == "connected"
            for process in node["active"]
        ]
        return _table(_window(rows), _WORKERS)

    @app.get("/txt/nodes")
    async def nodes_table() -> Response:
        rows = [{**node, "active": len(node["active"])} for node in service.cluster.state().values()]
        return _table(_window(rows), _NODES)

    @app.get("/txt/jobs")
    async def jobs_table() -> Response:
        is_deleted = queries.deleted()
        rows = await service.jobs.find(
            queries.listing(),
            is_active=parameters.read_flag("active", request.args.getlist("active")),
            is_deleted=is_deleted,
            ex_fields=None,
        )
        return _table(rows, (*_JOBS, "_deleted_on") if is_deleted else _JOBS)

    @app.get("/txt/ex")
    async def executions_table() -> Response:
        is_deleted = queries.deleted()
        rows = await service.executions.find(queries.listing(), statuses=(), is_deleted=is_deleted)
        return _table(rows, (*_EXECUTIONS, "_deleted_on") if is_deleted else _EXECUTIONS)

    @app.get("/txt/controllers")
    async def controllers_table() -> Response:
        return _table(_window(service.cluster.controllers()), _CONTROLLERS)


def _window(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows from `from` up to `size`, which is the end here and not a count, as in Teraslice."""
    try:
        page = queries.page()
    except InvalidRequest:
        return []
    return rows[page.start : page.size]


def _table(rows: Sequence[dict[str, Any]], default: tuple[str, ...]) -> Response:
    columns = [
        name
        for value in request.args.getlist("fields")
        for part in value.split(",")
        if (name := part.strip())
    ]
    text = table.render(rows, columns or default, has_headers=request.args.get("headers") != "false")
    return Response(text, content_type=_TEXT_TYPE)
