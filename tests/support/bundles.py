"""Bundles as their makers zip them."""

import base64
import hashlib
import io
import json
import zipfile
from typing import Any

OPERATIONS = """
from tsd.operations import MapProcessor, OpConfig, operation, opt


class ShoutConfig(OpConfig):
    \"\"\"Options of `shout`.\"\"\"

    mark: str = opt("!", doc="what is added")


@operation("{op}")
class Shout(MapProcessor[ShoutConfig]):
    \"\"\"Adds a mark to each record.\"\"\"

    def map(self, record):
        record["shout"] = "{word}" + self.config.mark
        return record
"""


def zip_of(files: dict[str, str | bytes]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bundle(
    name: str = "ex", version: str = "1.0.0", files: dict[str, str | bytes] | None = None, **manifest: Any
) -> bytes:
    """A bundle with this manifest and these files."""
    text = json.dumps({"name": name, "version": version} | manifest)
    return zip_of({"asset.json": text} | (files or {}))


def id_of(data: bytes) -> str:
    """The id that clients of Teraslice compute."""
    return hashlib.sha1(base64.b64encode(data)).hexdigest()
