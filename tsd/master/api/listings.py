"""Long lists as answers, encoded without holding up the loop."""

from collections.abc import Sequence
from typing import Any

import trio
from quart import Response

from tsd.master.api.framing import JSON_TYPE, encode_json

_INLINE_MAX = 50
"""Longer lists are encoded in a worker thread."""


class Listing(Response):
    """An array of documents as JSON."""

    @classmethod
    async def of(cls, documents: Sequence[dict[str, Any]]) -> "Listing":
        """Encode documents; each on its own, so that a thread that encodes many lets the loop run between."""
        if len(documents) > _INLINE_MAX:
            text = await trio.to_thread.run_sync(_encode, documents)
        else:
            text = _encode(documents)
        return cls(text, content_type=JSON_TYPE)


def _encode(documents: Sequence[dict[str, Any]]) -> bytes:
    if not documents:
        return b"[]"
    # A newline inside JSON text is always layout: in strings it is escaped.
    items = [b"    " + encode_json(document).replace(b"\n", b"\n    ") for document in documents]
    return b"[\n" + b",\n".join(items) + b"\n]"
