"""Recognizing files that are something else than their reader was told."""

from tsd.operations.standard.compression import READABLE

HEAD_B = 1024
"""So much of the start of a file is looked at."""
_COMPRESSIONS = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": b"\x28\xb5\x2f\xfd",
    "xz": b"\xfd7zXZ\0",
    "lz4": b"\x04\x22\x4d\x18",
    "bz2": b"BZh",
}
_BZ2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_OTHERS = (
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"PAR1", "a Parquet file, which is not supported: convert it to ldjson or csv"),
    (b"Obj\x01", "an Avro file, which is not supported: convert it to ldjson or csv"),
    (b"ORC", "an ORC file, which is not supported: convert it to ldjson or csv"),
    (b"SQLite format 3\0", "an SQLite database, which is not supported"),
    (b"%PDF-", "a PDF document"),
)
_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_WIDE = (("UTF-32LE", 4, 0), ("UTF-32BE", 4, 3), ("UTF-16LE", 2, 0), ("UTF-16BE", 2, 1))
"""Encodings, with the bytes of a letter, and which of them a Latin letter has in it."""
_FEW_LETTERS = 4
_MARKUP = (b"<!doctype html", b"<html", b"<?xml")
_MARKUP_B = 20


def compression_of(head: bytes) -> str | None:
    """The compression whose mark a file begins with."""
    for name, magic in _COMPRESSIONS.items():
        if head.startswith(magic) and (name != "bz2" or head[4:10] in _BZ2_BLOCKS):
            assert name in READABLE
            return name
    return None


def fault_of(head: bytes) -> str | None:
    """Why a file can not be one of text in UTF-8, and what to do; None when nothing speaks against it.

    Args:
        head: Its first bytes, `HEAD_B` of them if it is as long.
    """
    compression = compression_of(head)
    if compression is not None:
        return f"it is compressed: set compression to {compression}"
    for magic, what in _OTHERS:
        if head.startswith(magic) and not _is_text(head):
            return f"it is {what}"
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _convert(encoding)
    wide = _wide_encoding(head)
    return None if wide is None else _convert(wide)


def document_of(head: bytes, form: str | None) -> str | None:
    """Why text can not be of a format: it is a document of another kind, no line of which is a record.

    Args:
        head: As in `fault_of`.
        form: The format that the reader was told.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if form != "raw" and text[:_MARKUP_B].lower().startswith(_MARKUP):
        return "it is HTML or XML, which is not supported"
    first, _, rest = text.partition(b"\n")
    second = rest.lstrip().partition(b"\n")[0].rstrip()
    is_opened = first.rstrip() in (b"[", b"{") and second and not second.endswith(b"}")
    # as exports write it: {"rows":[ and then an element a line
    has_elements = first.rstrip().endswith(b"[") and second.startswith(b"{") and second.endswith(b"},")
    if form == "ldjson" and (is_opened or has_elements):
        return "it is one JSON document over several lines: set format to json"
    return None


def _convert(encoding: str) -> str:
    return f"it is {encoding}: convert it to UTF-8, for example with iconv -f {encoding} -t UTF-8"


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and not any(byte > 0x7F for byte in head)


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: Latin letters in it have nulls, always at the same places."""
    for name, width, own in _WIDE:
        letters = head[own : len(head) - len(head) % width : width]
        if len(letters) < _FEW_LETTERS or b"\0" in letters:
            continue
        others = [head[i::width][: len(letters)].count(0) for i in range(width) if i != own]
        # of text with some other letters most still have the null; the null of four bytes is in all
        if min(others) == len(letters) or (width == 2 and min(others) > len(letters) * 0.7):
            return name
    return None
