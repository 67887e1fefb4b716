"""The REST API as one ASGI application: framing, errors, routes. `tsd.master.service` does the work."""

import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
import structlog
import trio
from quart import Response, g, request
from quart.globals import request_ctx
from quart.json.provider import JSONProvider
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio
from typing_extensions import override
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from tsd.errors import InvalidRequest, StoreError, TsdError
from tsd.master.api.catalogue import ENDPOINTS
from tsd.master.api.framing import JSON_TYPE, UnsupportedBody, decode_body, encode_json
from tsd.master.api.gate import Gate
from tsd.master.api.inflow import Inflow
from tsd.master.api.paths import canonical_path, verb_meant
from tsd.master.api.problems import RETRY_AFTER_S, problem, status_of
from tsd.master.api.routes import add_routes
from tsd.master.api.upload import Upload, is_upload
from tsd.master.requests import RequestCounter
from tsd.master.service import MasterService
from tsd.setting_fields import is_loopback

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_TAGGED_SIZE_MAX = 256 * 1024
"""Larger answers get no `ETag`: to hash them would hold up the loop."""
_PLAIN_TYPE = "text/plain; charset=utf-8"
_READING = {"GET", "HEAD", "OPTIONS"}


@attrs.frozen(kw_only=True)
class ApiOptions:
    """Bounds of the API.

    Attributes:
        body_size_max: Largest JSON body, in bytes.
        answer_within_s: Longest time one request may take.
        request_max: Requests that are worked on at the same time; more are answered by 503.
        is_local: The API listens on a loopback address only.
    """

    body_size_max: int
    answer_within_s: float
    request_max: int
    is_local: bool


class _Json(JSONProvider):
    """How handlers' dicts and lists become answers."""

    @override
    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return encode_json(obj).decode()

    @override
    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        raise NotImplementedError("bodies are read by framing.decode_body")

    @override
    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(encode_json(args[0]), content_type=JSON_TYPE)


class Api(QuartTrio):
    """The application; make it with `create_api`."""

    json_provider_class = _Json
    answer_within_s: float = 300
    body_size_max: int = 0
    gate: Gate = Gate(0)
    requests: RequestCounter

    @override
    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request under the canonical path of what it asked for."""
        if scope["type"] == "http":
            scope, send = {**scope, "path": canonical_path(scope["path"])}, _unhindered(send)
            if is_upload(scope["method"], scope["path"]):
                upload = scope[Upload.KEY] = Upload(receive, send)
                receive, send = upload.receive, upload.send
            inflow = scope[Inflow.KEY] = Inflow(receive, size_max=self.body_size_max)
            receive = inflow.receive
        await super().asgi_app(scope, receive, send)

    @override
    async def make_default_options_response(self) -> Response:
        """What a path knows, for those who ask with OPTIONS."""
        paths = request_ctx.url_adapter
        assert paths is not None
        methods = ", ".join(sorted(set(paths.allowed_methods()) - {"OPTIONS"}))
        return Response(methods, content_type=_PLAIN_TYPE, headers={"Allow": methods})

    @override
    async def dispatch_request(self, request_context: Any = None) -> ResponseReturnValue:
        """Run a handler, for as long as a request may take. Its body has come by then."""
        with self.requests.flight(), self.gate.passed(request.path), trio.fail_after(self.answer_within_s):
            return await super().dispatch_request(request_context)


def _unhindered(send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Send the end of an answer whole.

    While Hypercorn ends a request it tells the application that the client is gone, upon which quart-trio
    cancels the task that is sending: then the connection would never be idle, and so never be closed.
    """

    async def send_whole(message: Any) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        with trio.CancelScope(shield=is_last):
            await send(message)

    return send_whole


def create_api(service: MasterService, options: ApiOptions) -> Api:
    """Build the application.

    Args:
        service: What the handlers call; it outlives the application.
        options: Bounds.
    """
    app = Api("tsd", static_folder=None)
    app.answer_within_s = options.answer_within_s
    app.gate = Gate(options.request_max)
    app.requests = service.requests
    app.url_map.merge_slashes = False
    app.body_size_max = options.body_size_max
    app.config["MAX_CONTENT_LENGTH"] = app.config["BODY_TIMEOUT"] = None  # `Inflow` does both
    app.before_request(_before(options))
    app.after_request(_after(service.requests))
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(TsdError, _on_error_of_ours)
    app.register_error_handler(trio.TooSlowError, _on_too_slow)
    app.register_error_handler(Exception, _on_fault)
    add_routes(app, service, ENDPOINTS)
    return app


def _before(options: ApiOptions) -> Callable[[], Awaitable[None]]:
    async def before() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        g.began_at = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)
        # Always and first: an answer before the end of the body leaves Hypercorn's connection useless.
        raw = await request.get_data(as_text=False)
        cast("dict[str, Any]", request.scope)[Inflow.KEY].check()
        _refuse_other_sites(is_local=options.is_local)
        if request.method in _READING or request.routing_exception is not None:
            return
        try:
            g.body = decode_body(
                cast("bytes", raw),
                content_type=request.headers.get("Content-Type"),
                content_encoding=request.headers.get("Content-Encoding"),
                size_max=options.body_size_max,
            )
        except UnsupportedBody as error:
            g.body = error  # a fault only where a body is wanted

    return before


def _refuse_other_sites(*, is_local: bool) -> None:
    """Keep web pages of others from running code here through somebody's browser.

    A page can make a browser send a form anywhere without asking, and posting a job runs code.
    Browsers name the page in `Origin`; curl and the Teraslice clients send none.

    Raises:
        InvalidRequest: The request changes something and comes from a page of another site.
    """
    origin = request.headers.get("Origin")
    if origin is None or request.method in _READING:
        return
    page = urlsplit(origin)
    host = urlsplit(f"//{request.headers.get('Host', '')}")
    # A name that was made to point at 127.0.0.1 has the same origin; it is not a loopback name.
    if page.netloc != host.netloc or (is_local and not is_loopback(host.hostname or "")):
        raise InvalidRequest(f"requests from pages of {origin[:200]} are not answered")


def _after(requests: RequestCounter) -> Callable[[Response], Awaitable[Response]]:
    async def after(response: Response) -> Response:
        await _offer_not_modified(response)
        response.headers["X-Request-Id"] = g.get("request_id", "")
        # Tables are text/html for old clients' sake; whatever a name in them says, a browser runs none of it.
        response.headers.setdefault(
            "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox"
        )
        elapsed_s = time.perf_counter() - g.get("began_at", time.perf_counter())
        route = None if request.url_rule is None else request.url_rule.rule
        requests.answered(request.method, route, response.status_code, elapsed_s)
        log.debug(
            "api.answered",
            method=request.method,
            path=request.full_path.rstrip("?"),
            status=response.status_code,
            elapsed_s=round(elapsed_s, 4),
        )
        return response

    return after


async def _offer_not_modified(response: Response) -> None:
    """Mark what was read by its content, and send nothing when the client has it already."""
    if request.method in {"GET", "HEAD"} and response.status_code == 200:
        data = await response.get_data(as_text=False)
        if len(data) > _TAGGED_SIZE_MAX:
            return
        response.set_etag(hashlib.blake2b(data, digest_size=16).hexdigest(), weak=True)
        await response.make_conditional(request)


def _answer(status: int, message: str) -> Response:
    response = Response(encode_json(problem(status, message)), status=status, content_type=JSON_TYPE)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


async def _on_http_error(error: HTTPException) -> Response:
    """Unknown paths, wrong methods, bodies that do not fit."""
    status = error.code or 500
    message = error.description or error.name
    if isinstance(error, (NotFound, MethodNotAllowed)):
        target = request.scope.get("raw_path", b"").decode("latin1")
        query = request.scope["query_string"].decode("latin1")
        message = f"cannot {request.method} endpoint {target}{'?' if query else ''}{query}"
        if isinstance(error, NotFound):
            message += verb_meant(request.scope["path"], [each.path for each in ENDPOINTS])
    response = _answer(status, message)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


async def _on_error_of_ours(error: TsdError) -> Response:
    status = status_of(error)
    if status >= 500 and not isinstance(error, StoreError):
        log.warning("api.failed", reason=str(error), status=status)
    return _answer(status, str(error))


async def _on_too_slow(_error: trio.TooSlowError) -> Response:
    return _answer(
        504, "the request took longer than api_response_timeout; what it asked for may still happen"
    )


async def _on_fault(error: Exception) -> Response:
    """A bug: the client gets an id, the log gets the rest, and the master goes on."""
    log.error("api.fault", method=request.method, path=request.path, exc_info=error)
    return _answer(500, f"internal error; the log of the master tells more under request id {g.request_id}")
