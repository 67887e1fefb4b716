"""`/ex`: the runs of jobs."""

from typing import Any

from quart import request
from quart_trio import QuartTrio

from tsd.master.api import parameters, queries
from tsd.master.api.listings import Listing
from tsd.master.service import MasterService

Document = dict[str, Any]


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""
    _add_readers(app, service)
    _add_verbs(app, service)


def _add_readers(app: QuartTrio, service: MasterService) -> None:
    executions = service.executions

    @app.get("/ex")
    async def list_executions() -> Listing:
        found = await executions.find(
            queries.listing(),
            statuses=parameters.read_words(request.args.getlist("status")),
            is_deleted=queries.deleted(),
        )
        return await Listing.of(found)

    @app.get("/ex/errors")
    async def all_errors() -> Listing:
        return await Listing.of(await executions.errors(queries.listing()))

    @app.get("/ex/<ex_id>")
    async def get_execution(ex_id: str) -> Document:
        return await executions.get(ex_id)

    @app.get("/ex/<ex_id>/errors")
    async def execution_errors(ex_id: str) -> Listing:
        return await Listing.of(await executions.errors(queries.listing(), ex_id=ex_id))

    @app.get("/ex/<ex_id>/controller")
    async def execution_controller(ex_id: str) -> list[Document]:
        return [service.cluster.controller(ex_id)]


def _add_verbs(app: QuartTrio, service: MasterService) -> None:
    executions = service.executions

    @app.post("/ex/<ex_id>/_stop")
    async def stop_execution(ex_id: str) -> Document:
        return await executions.stop(ex_id, queries.stop_options())

    @app.post("/ex/<ex_id>/_pause")
    async def pause_execution(ex_id: str) -> Document:
        return await executions.pause(ex_id)

    @app.post("/ex/<ex_id>/_resume")
    async def resume_execution(ex_id: str) -> Document:
        return await executions.resume(ex_id)

    @app.post("/ex/<ex_id>/_recover")
    async def recover_execution(ex_id: str) -> Document:
        return await executions.recover(ex_id, queries.cleanup())

    @app.post("/ex/<ex_id>/_workers")
    async def change_workers(ex_id: str) -> Document:
        return await executions.change_workers(ex_id, *queries.workers())
