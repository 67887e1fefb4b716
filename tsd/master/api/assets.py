"""`/assets`: bundles of operations."""

from typing import Any

from quart import Response

from tsd.master.api import queries
from tsd.master.api.documents import Asset, AssetId, MalformedId
from tsd.master.api.endpoint import Answer, Group
from tsd.master.api.framing import JSON_TYPE, encode_json
from tsd.master.api.listings import Listing
from tsd.master.api.parameters import Page
from tsd.master.api.upload import UPLOAD_PATH, Upload
from tsd.master.assets import MalformedAssetId
from tsd.master.service import MasterService

Document = dict[str, Any]

_ASSETS = Group("Assets")


@_ASSETS.declare(
    "POST",
    UPLOAD_PATH,
    query={"is_blocking": queries.BLOCKING},
    takes_upload=True,
    answer=Answer(AssetId, "these bytes are stored already"),
    also={201: Answer(AssetId, "the bundle was stored")},
    errors={
        400: "the content type says that the body is JSON or a form",
        409: "another bundle of this name and version runs on the same hosts",
        413: "it is larger than `tsd.max_asset_size`",
        422: "it is no zip, or no good bundle",
    },
)
async def upload_asset(service: MasterService, *, is_blocking: bool, upload: Upload) -> Response:  # noqa: ARG001 - of clients of Teraslice
    """Store a bundle: a zip with `asset.json` at its top.

    The body is the zip. Its id is the SHA-1 of its base64 text.
    """
    saved = await service.assets.save(upload.chunks())
    return _answer(201 if saved.is_new else 200, {"asset_id": saved.asset_id})


@_ASSETS.declare("GET", "/assets", query={"page": queries.ASSET_PAGE}, answer=list[Asset])
async def list_assets(service: MasterService, *, page: Page) -> Listing:
    """List bundles."""
    return await _listing(service, page)


@_ASSETS.declare("GET", "/assets/<asset>", query={"page": queries.ASSET_PAGE}, answer=list[Asset])
async def list_assets_of_name(service: MasterService, asset: str, *, page: Page) -> Listing:
    """List bundles of a name."""
    return await _listing(service, page, asset)


@_ASSETS.declare("GET", "/assets/<asset>/<version>", query={"page": queries.ASSET_PAGE}, answer=list[Asset])
async def list_assets_of_version(service: MasterService, asset: str, version: str, *, page: Page) -> Listing:
    """List bundles of a name and version."""
    return await _listing(service, page, asset, version)


@_ASSETS.declare(
    "DELETE",
    "/assets/<asset>",
    query={"is_forced": queries.IS_FORCED},
    answer=AssetId,
    also={400: Answer(MalformedId, "the id has not 40 digits")},
    errors={404: "there is no such bundle", 409: "an execution uses it, or an active job needs it"},
)
async def delete_asset(service: MasterService, asset: str, *, is_forced: bool) -> Response:
    """Delete a bundle."""
    try:
        await service.assets.delete(asset, is_forced=is_forced)
    except MalformedAssetId as error:
        # The one answer in which clients look for a text under `error`.
        return _answer(400, {"error": str(error), "message": str(error)})
    return _answer(200, {"asset_id": asset})


async def _listing(
    service: MasterService, page: Page, name: str | None = None, version: str | None = None
) -> Listing:
    found = await service.assets.find(
        size=page.size, start=page.start, sort=page.sort, name=name, version=version
    )
    return await Listing.of(found)


def _answer(status: int, document: Document) -> Response:
    return Response(encode_json(document), status=status, content_type=JSON_TYPE)


ENDPOINTS = (upload_asset, list_assets, list_assets_of_name, list_assets_of_version, delete_asset)
