"""Bundles as their makers zip them."""

import base64
import hashlib
import io
import json
import zipfile
from typing import Any

_OPERATIONS = """
from __future__ import annotations

import attrs

from tsd.operations import MapProcessor, OpConfig, operation, opt

from .words import WORD


@attrs.define(kw_only=True)
class ShoutConfig(OpConfig):
    mark: str = opt("!", doc="what is added")
    file: str = opt("", doc="a file to write to")


@operation("{op}", config=ShoutConfig)
class Shout(MapProcessor):
    def map(self, record, index, batch):
        import {package}.words as late

        assert late.WORD is WORD
        record["shout"] = WORD + self.config.mark
        if self.config.file:
            with open(self.config.file, "a") as file:
                file.write(record["shout"] + " " + str(self.ctx.asset_path("{name}")) + chr(10))
        return record
"""


def zip_of(files: dict[str, str | bytes]) -> bytes:
    """A zip of these files, the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def bundle(
    name: str = "ex", version: str = "1.0.0", files: dict[str, str | bytes] | None = None, **manifest: Any
) -> bytes:
    """A bundle with this manifest and these files."""
    text = json.dumps({"name": name, "version": version} | manifest)
    return zip_of({"asset.json": text} | (files or {}))


def operations(
    name: str = "ex", version: str = "1.0.0", *, op: str = "shout", package: str = "ops", **manifest: Any
) -> bytes:
    """A bundle with an operation that adds the name and version of the bundle to each record."""
    files = {
        f"{package}/__init__.py": _OPERATIONS.format(op=op, package=package, name=name),
        f"{package}/words.py": f"WORD = {f'{name}:{version}'!r}\n",
    }
    return bundle(name, version, files, **manifest)


def id_of(data: bytes) -> str:
    """The id that clients of Teraslice compute."""
    return hashlib.sha1(base64.b64encode(data)).hexdigest()
