"""`/openapi.json` and `/docs`: what the API says of itself, for programs and for people."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import trio
from quart import Response

from tsd.master.api import page
from tsd.master.api.endpoint import Answer, Endpoint, Group
from tsd.master.api.framing import JSON_TYPE, encode_json
from tsd.master.api.openapi import describe
from tsd.master.service import MasterService

_REFERENCE = Group("Reference")
_HTML_TYPE = "text/html; charset=utf-8"


def endpoints_about(others: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints that describe others, and themselves.

    Args:
        others: All other endpoints.
    """

    @_REFERENCE.declare("GET", "/openapi.json", answer=dict[str, Any])
    async def openapi(_service: MasterService) -> Response:
        """All of this as OpenAPI 3.1."""
        return Response(document(), content_type=JSON_TYPE)

    @_REFERENCE.declare("GET", "/docs", answer=Answer(str, "this page", _HTML_TYPE))
    async def docs(_service: MasterService) -> Response:
        """All of this as a page for people."""
        text = await trio.to_thread.run_sync(html)  # the first time it takes a while
        return Response(text, content_type=_HTML_TYPE, headers={"Content-Security-Policy": _policy()})

    described = (*others, openapi, docs)

    @cache
    def document() -> bytes:
        return encode_json(describe(described))

    @cache
    def html() -> str:
        return page.render(described)

    return openapi, docs


@cache
def _policy() -> str:
    """The page may have its own style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(page.STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; sandbox"
