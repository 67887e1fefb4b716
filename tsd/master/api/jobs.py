"""`/jobs`: the stored definitions, and what is told to their latest execution."""

from typing import Any

from quart import request
from quart_trio import QuartTrio

from tsd.errors import InvalidRequest
from tsd.master.api import parameters, queries
from tsd.master.api.listings import Listing
from tsd.master.service import MasterService

Document = dict[str, Any]


def add_routes(app: QuartTrio, service: MasterService) -> None:
    """Add the routes of this resource."""
    _add_definitions(app, service)
    _add_starts(app, service)
    _add_verbs(app, service)


def _add_definitions(app: QuartTrio, service: MasterService) -> None:
    jobs = service.jobs

    @app.get("/jobs")
    async def list_jobs() -> Listing:
        found = await jobs.find(
            queries.listing(),
            is_active=parameters.read_flag("active", request.args.getlist("active")),
            is_deleted=queries.deleted(),
            ex_fields=queries.ex_fields(),
        )
        return await Listing.of(found)

    @app.post("/jobs")
    async def submit_job() -> Document:
        starts = parameters.read_boolean("start", request.args.getlist("start"), default=True)
        return await jobs.submit(queries.body(), starts=starts)

    @app.get("/jobs/<job_id>")
    async def get_job(job_id: str) -> Document:
        return await jobs.get(job_id, ex_fields=queries.ex_fields())

    @app.put("/jobs/<job_id>")
    async def update_job(job_id: str) -> Document:
        return await jobs.update(job_id, queries.body())

    @app.delete("/jobs/<job_id>")
    async def delete_job(job_id: str) -> Document:
        return await jobs.delete(job_id)

    @app.post("/jobs/<job_id>/_active")
    async def activate_job(job_id: str) -> Document:
        return await jobs.set_active(job_id, is_active=True)

    @app.post("/jobs/<job_id>/_inactive")
    async def deactivate_job(job_id: str) -> Document:
        return await jobs.set_active(job_id, is_active=False)


def _add_starts(app: QuartTrio, service: MasterService) -> None:
    jobs = service.jobs

    @app.post("/jobs/<job_id>/_start")
    async def start_job(job_id: str) -> Document:
        return await jobs.start(job_id)

    @app.post("/jobs/<job_id>/_recover")
    async def recover_job(job_id: str) -> Document:
        return await jobs.recover(job_id, queries.cleanup())

    @app.get("/jobs/<job_id>/ex")
    async def latest_execution(job_id: str) -> Document:
        return await jobs.latest_execution(job_id)

    @app.get("/jobs/<job_id>/errors")
    async def job_errors(job_id: str) -> Listing:
        await jobs.latest_ex_id(job_id)
        return await Listing.of(await service.executions.errors(queries.listing(), job_id=job_id))


def _add_verbs(app: QuartTrio, service: MasterService) -> None:
    jobs, executions = service.jobs, service.executions

    @app.post("/jobs/<job_id>/_stop")
    async def stop_job(job_id: str) -> Document:
        options = queries.stop_options()
        return await executions.stop(await jobs.latest_ex_id(job_id), options)

    @app.post("/jobs/<job_id>/_pause")
    async def pause_job(job_id: str) -> Document:
        return await executions.pause(await jobs.latest_ex_id(job_id))

    @app.post("/jobs/<job_id>/_resume")
    async def resume_job(job_id: str) -> Document:
        return await executions.resume(await jobs.latest_ex_id(job_id))

    @app.post("/jobs/<job_id>/_workers")
    async def change_job_workers(job_id: str) -> Document:
        ex_id = await jobs.latest_ex_id(job_id)
        return await executions.change_workers(ex_id, *queries.workers())

    @app.post("/jobs/<job_id>/_settings")
    async def change_job_settings(job_id: str) -> Document:
        ex_id = await jobs.latest_ex_id(job_id)
        level = parameters.one_of(request.args.getlist("log_level"))
        levels = ("trace", "debug", "info", "warn", "error", "fatal")
        if level not in levels:
            shown = level[:80] or "undefined"
            raise InvalidRequest(f'Invalid log level "{shown}", must be one of: {", ".join(levels)}')
        return await executions.set_log_level(ex_id, level)

    @app.get("/jobs/<job_id>/controller")
    async def job_controller(job_id: str) -> list[Document]:
        return [service.cluster.controller(await jobs.latest_ex_id(job_id))]
