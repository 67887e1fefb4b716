"""Compressed bytes: read as a stream in bounded memory, written as a whole.

The libraries of lz4 and zstd are imported when a file needs them, as most jobs do not.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import attrs
from typing_extensions import override

from tsd.operations.standard.storage import DamagedError

WRITABLE = ("none", "gzip", "lz4", "zstd")
READABLE = (*WRITABLE, "bz2", "xz")
SUFFIXES = {"none": "", "gzip": ".gz", "lz4": ".lz4", "zstd": ".zst"}
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_PIECE_B = 1_048_576
_ZSTD_STEP_B = 1024
"""Its decompressor gives all that a step becomes, which for a hostile one is 32,000 times as much."""
_MOST_XZ_MEMORY_B = 268_435_456
"""Files tell how large a dictionary they need; that of `xz -9` has 64 MiB."""


class _Member(Protocol):
    """Decompresses one member, frame or stream of a file; a file may have several, one after another."""

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """What more compressed bytes become, in pieces of moderate length."""
        ...

    @property
    def eof(self) -> bool:
        """Whether the member has come to its end."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the end of the member."""
        ...


class _Bounded(_Member):
    """A decompressor with `max_length` as Python's own have it, and that of lz4."""

    def __init__(self, real: Any) -> None:
        self._real = real

    @override
    def decompress(self, data: bytes) -> Iterator[bytes]:
        yield self._real.decompress(data, _PIECE_B)
        while not (self._real.eof or self._real.needs_input):
            yield self._real.decompress(b"", _PIECE_B)

    @property
    @override
    def eof(self) -> bool:
        return bool(self._real.eof)

    @property
    @override
    def unused_data(self) -> bytes:
        return self._real.unused_data or b""


class _Gzip(_Member):
    def __init__(self) -> None:
        self._real = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @override
    def decompress(self, data: bytes) -> Iterator[bytes]:
        while data and not self._real.eof:
            yield self._real.decompress(data, _PIECE_B)
            data = self._real.unconsumed_tail

    @property
    @override
    def eof(self) -> bool:
        return self._real.eof

    @property
    @override
    def unused_data(self) -> bytes:
        return self._real.unused_data


class _Zstd(_Member):
    def __init__(self, real: Any) -> None:
        self._real = real
        self._rest = b""

    @override
    def decompress(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP_B):
            end = start + _ZSTD_STEP_B
            yield self._real.decompress(data[start:end])
            if self._real.eof:
                self._rest = self._real.unused_data + data[end:]
                return

    @property
    @override
    def eof(self) -> bool:
        return bool(self._real.eof)

    @property
    @override
    def unused_data(self) -> bytes:
        return self._rest


@attrs.frozen
class _Method:
    member: Callable[[], _Member]
    errors: tuple[type[Exception], ...]
    compress: Callable[[bytes], bytes] | None = None


def _gzip() -> _Method:
    return _Method(_Gzip, (zlib.error,), lambda data: gzip.compress(data, _GZIP_LEVEL, mtime=0))


def _bz2() -> _Method:
    return _Method(lambda: _Bounded(bz2.BZ2Decompressor()), (OSError, ValueError))


def _xz() -> _Method:
    def member() -> _Member:
        return _Bounded(lzma.LZMADecompressor(memlimit=_MOST_XZ_MEMORY_B))

    return _Method(member, (lzma.LZMAError,))


def _lz4() -> _Method:
    import lz4.frame  # noqa: PLC0415 - few jobs need it

    return _Method(
        lambda: _Bounded(lz4.frame.LZ4FrameDecompressor()),
        (RuntimeError,),
        lambda data: bytes(lz4.frame.compress(data, content_checksum=True)),
    )


def _zstd() -> _Method:
    import zstandard  # noqa: PLC0415 - few jobs need it

    decompressor = zstandard.ZstdDecompressor()
    return _Method(
        lambda: _Zstd(decompressor.decompressobj()),
        (zstandard.ZstdError,),
        zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress,
    )


_METHODS: dict[str, Callable[[], _Method]] = {
    "gzip": _gzip,
    "lz4": _lz4,
    "zstd": _zstd,
    "bz2": _bz2,
    "xz": _xz,
}


def compress(data: bytes, compression: str) -> bytes:
    """Compress whole content; equal content gives equal bytes."""
    if compression == "none":
        return data
    function = _METHODS[compression]().compress
    assert function is not None, f"{compression} is only read"
    return function(data)


def decompress(pieces: Iterable[bytes], compression: str, *, most_b: int) -> Iterator[bytes]:
    """Decompress a whole file, which may have several members, with nulls between them.

    Args:
        pieces: The compressed bytes.
        compression: One of `READABLE`.
        most_b: How much may come out.

    Yields:
        Pieces of a few MiB at most, or 32 MiB of a zstd file that is made to be a bomb.

    Raises:
        DamagedError: The bytes are damaged, end too early, or become more than `most_b`.
    """
    if compression == "none":
        yield from pieces
        return
    count_b = 0
    for piece in _decompressed(pieces, compression):
        count_b += len(piece)
        if count_b > most_b:
            raise DamagedError(
                f"it becomes more than {most_b} bytes: raise max_decompressed if that is right"
            )
        if piece:
            yield piece


def _decompressed(pieces: Iterable[bytes], compression: str) -> Iterator[bytes]:
    method = _METHODS[compression]()
    member: _Member | None = None
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if member is None:
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    member = method.member()
                yield from member.decompress(rest)
                rest = b""
                if member.eof:
                    rest = member.unused_data
                    member = None
    except method.errors as error:
        raise DamagedError(f"it is no {compression}, or is damaged: {error}") from error
    if member is not None:
        raise DamagedError(f"its {compression} data ends too early")
