"""From declared endpoints to routes of the application."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from quart import g, request
from quart_trio import QuartTrio

from tsd.master.api.endpoint import Endpoint, Given
from tsd.master.api.framing import UnsupportedBody
from tsd.master.api.upload import Upload, check_headers
from tsd.master.service import MasterService


def add_routes(app: QuartTrio, service: MasterService, endpoints: Iterable[Endpoint]) -> None:
    """Serve endpoints.

    Args:
        app: The application.
        service: What the handlers call.
        endpoints: Those to serve.
    """
    for endpoint in endpoints:
        app.add_url_rule(
            endpoint.path,
            endpoint=endpoint.name,
            view_func=_view(endpoint, service),
            methods=[endpoint.method],
        )


def _view(endpoint: Endpoint, service: MasterService) -> Callable[..., Awaitable[Any]]:
    async def view(**path: str) -> Any:
        arguments: dict[str, Any] = {
            name: query.read(Given(query.parameters, request.args.getlist))
            for name, query in endpoint.query.items()
        }
        if endpoint.body is not None:
            arguments["body"] = _body()
        if endpoint.takes_upload:
            arguments["upload"] = _upload()
        return await endpoint.handler(service, **path, **arguments)

    return view


def _upload() -> Upload:
    """The body of an upload, which nobody has read yet.

    Raises:
        InvalidRequest: It says that it is JSON or a form.
        UnsupportedBody: It is compressed on its way.
    """
    check_headers(
        content_type=request.headers.get("Content-Type"),
        content_encoding=request.headers.get("Content-Encoding"),
    )
    return cast("Upload", cast("dict[str, Any]", request.scope)[Upload.KEY])


def _body() -> dict[str, Any]:
    """The body as an object; an array has nothing that is asked for, so it is an empty one.

    Raises:
        UnsupportedBody: It is of a type that is not read.
    """
    if isinstance(g.body, UnsupportedBody):
        raise g.body
    return g.body if isinstance(g.body, dict) else {}
