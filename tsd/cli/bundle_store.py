"""The bundles of a cluster, as the command line sees them."""

import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tsd.assets.identity import is_asset_id
from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.assets.versions import precedence
from tsd.cli.client import ApiError, MasterClient
from tsd.errors import NotFound
from tsd.store.assets import RESTRICTIONS

Document = dict[str, Any]
_ALL = 10_000


@attrs.frozen
class BundleStore:
    """Requests about bundles. All methods raise `ApiError` and `MasterUnreachable`, too."""

    client: MasterClient

    def find(self, name: str | None = None) -> list[Document]:
        """The bundles, newest creation first, of a name if one is given."""
        path = "/v1/assets" if name is None else f"/v1/assets/{quote(name, safe='*')}"
        return list(self.client.get(f"{path}?size={_ALL}"))

    def one(self, wanted: str) -> Document:
        """A bundle by its id, by name and version, or the newest version of a name.

        Raises:
            NotFound: There is none.
        """
        if is_asset_id(wanted):
            found = [asset for asset in self.find() if asset["id"] == wanted]
        else:
            name, _, version = wanted.partition(":")
            found = [asset for asset in self.find(name) if version in {"", asset["version"]}]
        if not found:
            raise NotFound(f"the cluster at {self.client.url} has no bundle {wanted}")
        return max(found, key=lambda asset: precedence(asset["version"]))

    def deploy(self, file: Path, *, replace: bool, is_forced: bool) -> tuple[str, bool]:
        """Upload a zip; its id, and whether it is new.

        Args:
            file: The zip.
            replace: Delete what is in its way; only what is good is refused for that, so nothing is lost.
            is_forced: Delete it also when it is needed.

        Raises:
            OSError: The file can not be read.
        """
        try:
            status, answer = self.client.upload("/v1/assets", file)
        except ApiError as error:
            if error.status != 409 or not replace:
                raise
            for asset_id in self._in_the_way(file):
                self._delete(asset_id, is_forced=is_forced)
            status, answer = self.client.upload("/v1/assets", file)
        return answer["asset_id"], status == 201

    def _in_the_way(self, file: Path) -> list[str]:
        """The bundles because of which the master, who found it good, does not store a zip."""
        with zipfile.ZipFile(file) as opened:
            manifest = read_manifest(opened.read(FILE_NAME))
        wanted = [(field, getattr(manifest, field)) for field in RESTRICTIONS]
        return [
            asset["id"]
            for asset in self.find(manifest.name)
            if asset["version"] == manifest.version
            and all(None in {value, asset.get(field)} or value == asset[field] for field, value in wanted)
        ]

    def delete(self, wanted: str, *, is_forced: bool) -> str:
        """Delete a bundle by its id, or by name and version; its id.

        Raises:
            NotFound: There is none.
        """
        asset_id = wanted if is_asset_id(wanted) else str(self.one(wanted)["id"])
        self._delete(asset_id, is_forced=is_forced)
        return asset_id

    def _delete(self, asset_id: str, *, is_forced: bool) -> None:
        self.client.delete(f"/v1/assets/{asset_id}?force={'true' if is_forced else 'false'}")
