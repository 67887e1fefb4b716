"""`/txt`: lists as text tables for people at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from quart import Response

from tsd.error_texts import first_line_of
from tsd.master.api import queries, table
from tsd.master.api.endpoint import Answer, Group, Query
from tsd.master.api.parameters import Page
from tsd.master.lists import ListQuery
from tsd.master.service import MasterService
from tsd.store.letters import Whose

Columns = tuple[str, ...]

_TABLES = Group("Tables")

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
_DEAD_LETTERS = ("time", "job_id", "ex_id", "slice_id", "position", "operation", "replayed", "error")
_ASSETS = ("name", "version", "id", "_created", "description", "node_version", "platform", "arch")
_DESCRIPTION_LENGTH = 30
_TEXT_TYPE = "text/html; charset=utf-8"
"""What Teraslice says of its tables, and what clients therefore may match."""
_TABLE = Answer(str, "the table, as plain text", _TEXT_TYPE)
_SHAPE: Mapping[str, Query[Any]] = {"columns": queries.FIELDS, "has_headers": queries.HEADERS}


@_TABLES.declare(
    "GET",
    "/txt/jobs",
    query={
        "listing": queries.JOB_LISTING,
        "is_active": queries.ACTIVE,
        "is_deleted": queries.DELETED,
        **_SHAPE,
    },
    answer=_TABLE,
)
async def jobs_table(
    service: MasterService,
    *,
    listing: ListQuery,
    is_active: bool | None,
    is_deleted: bool,
    columns: Columns,
    has_headers: bool,
) -> Response:
    """Jobs as a table."""
    rows = await service.jobs.find(listing, is_active=is_active, is_deleted=is_deleted, ex_fields=None)
    default = (*_JOBS, "_deleted_on") if is_deleted else _JOBS
    return _table(rows, columns or default, has_headers=has_headers)


@_TABLES.declare(
    "GET",
    "/txt/ex",
    query={"listing": queries.EXECUTION_LISTING, "is_deleted": queries.DELETED, **_SHAPE},
    answer=_TABLE,
)
async def executions_table(
    service: MasterService, *, listing: ListQuery, is_deleted: bool, columns: Columns, has_headers: bool
) -> Response:
    """Executions as a table."""
    rows = await service.executions.find(listing, statuses=(), is_deleted=is_deleted)
    default = (*_EXECUTIONS, "_deleted_on") if is_deleted else _EXECUTIONS
    return _table(rows, columns or default, has_headers=has_headers)


@_TABLES.declare(
    "GET", "/txt/dead_letters", query={"listing": queries.LETTER_LISTING, **_SHAPE}, answer=_TABLE
)
async def dead_letters_table(
    service: MasterService, *, listing: ListQuery, columns: Columns, has_headers: bool
) -> Response:
    """Dead letters of all executions as a table; of each error the first line."""
    found = await service.letters.find(listing, Whose())
    rows = [letter | {"error": first_line_of(letter["error"])} for letter in found]
    return _table(rows, columns or _DEAD_LETTERS, has_headers=has_headers)


@_TABLES.declare("GET", "/txt/nodes", query={"window": queries.WINDOW, **_SHAPE}, answer=_TABLE)
async def nodes_table(
    service: MasterService, *, window: slice, columns: Columns, has_headers: bool
) -> Response:
    """Nodes as a table."""
    rows = [{**node, "active": len(node["active"])} for node in service.cluster.state().values()]
    return _table(rows[window], columns or _NODES, has_headers=has_headers)


@_TABLES.declare("GET", "/txt/workers", query={"window": queries.WINDOW, **_SHAPE}, answer=_TABLE)
async def workers_table(
    service: MasterService, *, window: slice, columns: Columns, has_headers: bool
) -> Response:
    """Processes of the nodes as a table."""
    rows = [
        {**process, "node_id": node["node_id"], "hostname": node["hostname"]}
        for node in service.cluster.state().values()
        if node["state"] != "disconnected"
        for process in node["active"]
    ]
    return _table(rows[window], columns or _WORKERS, has_headers=has_headers)


@_TABLES.declare("GET", "/txt/controllers", query={"window": queries.WINDOW, **_SHAPE}, answer=_TABLE)
async def controllers_table(
    service: MasterService, *, window: slice, columns: Columns, has_headers: bool
) -> Response:
    """Executions that run as a table."""
    rows = service.cluster.controllers()
    return _table(rows[window], columns or _CONTROLLERS, has_headers=has_headers)


async def _asset_table(
    service: MasterService,
    page: Page,
    columns: Columns,
    *,
    has_headers: bool,
    name: str | None = None,
    version: str | None = None,
) -> Response:
    """Here, as in Teraslice, a value that is missing is blank."""
    found = await service.assets.find(
        size=page.size, start=page.start, sort=page.sort, name=name, version=version
    )
    rows = [asset | {"description": asset.get("description", "")[:_DESCRIPTION_LENGTH]} for asset in found]
    text = table.render(rows, columns or _ASSETS, has_headers=has_headers, missing="")
    return Response(text, content_type=_TEXT_TYPE)


@_TABLES.declare("GET", "/txt/assets", query={"page": queries.ASSET_PAGE, **_SHAPE}, answer=_TABLE)
async def assets_table(
    service: MasterService, *, page: Page, columns: Columns, has_headers: bool
) -> Response:
    """Bundles as a table."""
    return await _asset_table(service, page, columns, has_headers=has_headers)


@_TABLES.declare("GET", "/txt/assets/<asset>", query={"page": queries.ASSET_PAGE, **_SHAPE}, answer=_TABLE)
async def assets_of_name_table(
    service: MasterService, asset: str, *, page: Page, columns: Columns, has_headers: bool
) -> Response:
    """Bundles of a name as a table."""
    return await _asset_table(service, page, columns, has_headers=has_headers, name=asset)


@_TABLES.declare(
    "GET", "/txt/assets/<asset>/<version>", query={"page": queries.ASSET_PAGE, **_SHAPE}, answer=_TABLE
)
async def assets_of_version_table(
    service: MasterService, asset: str, version: str, *, page: Page, columns: Columns, has_headers: bool
) -> Response:
    """Bundles of a name and version as a table."""
    return await _asset_table(service, page, columns, has_headers=has_headers, name=asset, version=version)


def _table(rows: Sequence[dict[str, Any]], columns: Columns, *, has_headers: bool) -> Response:
    return Response(table.render(rows, columns, has_headers=has_headers), content_type=_TEXT_TYPE)


ENDPOINTS = (
    jobs_table,
    executions_table,
    dead_letters_table,
    assets_table,
    assets_of_name_table,
    assets_of_version_table,
    nodes_table,
    workers_table,
    controllers_table,
)
