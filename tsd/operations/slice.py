"""A slice as the pipeline of a worker takes it."""

from typing import Any

import attrs
import msgspec

from tsd.ids import slice_id as derive_slice_id

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True, eq=False)
class Slice:
    """One slice to run.

    Attributes:
        ex_id: The execution that made it; a recovered slice belongs to an earlier one.
        slicer_id: Number of its slicer, from 0.
        slicer_order: Where it stands among the slices of that slicer, from 1.
        request: JSON text of an object.
    """

    ex_id: str
    slicer_id: int
    slicer_order: int
    request: str
    _slice_id: str | None = None

    @property
    def slice_id(self) -> str:
        """Its id: the given one, else derived when it is first asked for, which most slices never are."""
        known = self._slice_id
        if known is None:
            known = derive_slice_id(self.ex_id, self.slicer_id, self.slicer_order)
            object.__setattr__(self, "_slice_id", known)
        return known

    def decode_request(self) -> Any:
        """A new copy of the request, so nothing that user code does to it reaches the next attempt."""
        return _decode(self.request)

    @classmethod
    def of(
        cls,
        request: Any,
        *,
        ex_id: str = "test",
        slicer_id: int = 0,
        slicer_order: int = 1,
        slice_id: str | None = None,
    ) -> "Slice":
        """A slice of a request that is still an object, for harnesses and tests."""
        text = _encode(request).decode()
        return cls(
            ex_id=ex_id, slicer_id=slicer_id, slicer_order=slicer_order, request=text, slice_id=slice_id
        )
