"""Which state of a file it is: the version that requests carry, and the comparison with the file of now.

A version is `<inode>-<time of modification>-<sample>`, in hexadecimal, and the length of the file is in the
request beside it. The sample is a hash over the content of a file of up to 64 KiB, and over 16 blocks of 4
KiB spread evenly from the first byte to the last of a longer one; it covers only what the file had when it
was listed.

Inode, time, length and sample together decide what an open file is:

* The same inode, longer, the same sample: the file was appended to. What is read of it ends where it ended.
* The same inode, length and sample: the same file, if its time is the same or the sample is its whole
  content. A longer file with another time was written to in its middle, or touched, and is refused.
* Another inode, but length, time and sample are the same: the same file on another host, or on a file
  system that numbers its inodes anew with each mount (FUSE).
* Anything else is another file, and is refused with what differs.

The number of the device is not compared: the same file system has different ones on two hosts, and after a
restart. A process takes the sample of a file once and then compares what `stat` says, with the time of
change, which nobody can set; but not while these times are less than 2 s old. File systems count them in
ticks of up to 2 s, and within one a file can be rewritten without a trace.
"""

import hashlib
import os
import time

from tsd.errors import OperationError, SourceChanged

_BLOCK_B = 4_096
_BLOCKS = 16
_WHOLE_B = _BLOCK_B * _BLOCKS
_NEWEST_TRUSTED_NS = 2_000_000_000
_LOOKS = 3

Seen = dict[tuple[str, str], tuple[int, ...]]
"""What `stat` said of files that were found to be the same, by path and version; see `verify`."""
_MOST_SEEN = 1_024


def describe(fd: int, path: str) -> tuple[int, str]:
    """Length and version of an open file.

    Raises:
        OperationError: It changes while it is looked at.
        OSError: It can not be read.
    """
    for _ in range(_LOOKS):
        before = os.fstat(fd)
        sample = _sample(fd, before.st_size)
        after = os.fstat(fd)
        if sample is not None and after.st_size >= before.st_size:
            return before.st_size, f"{before.st_ino:x}-{before.st_mtime_ns:x}-{sample}"
    raise OperationError(f"file {path} becomes shorter while it is looked at")


def describe_closed(stat: os.stat_result) -> tuple[int, str]:
    """Length and version of a file that may not be opened: it is the same only as long as it is untouched."""
    return stat.st_size, f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-"


def verify(fd: int, path: str, total_b: int, version: str, seen: Seen | None = None) -> None:
    """Refuse an open file that is not the one that was cut into slices.

    Args:
        fd: The open file.
        path: For the message.
        total_b: Its length when it was cut.
        version: Its version then.
        seen: Remembers files that are the same, for the next call.

    Raises:
        SourceChanged: It is another one; the message says what differs.
        OSError: It can not be read.
    """
    now = os.fstat(fd)
    stat = (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    if seen is not None and seen.get((path, version)) == stat:
        return
    inode, mtime_ns, sample = _parse(path, version)
    is_inode, is_time = now.st_ino == inode, now.st_mtime_ns == mtime_ns
    is_length = now.st_size == total_b
    is_grown = is_inode and now.st_size > total_b
    is_unchanged = is_length and (is_time or (is_inode and total_b <= _WHOLE_B))
    if not sample and is_inode and is_time and is_length:
        return
    if (is_grown or is_unchanged) and _sample(fd, total_b) == sample:
        if seen is not None and _is_old(now):
            if len(seen) >= _MOST_SEEN:
                seen.clear()
            seen[path, version] = stat
        return
    raise SourceChanged(f"file {path} {_difference(now, total_b, is_inode=is_inode)}")


def _is_old(stat: os.stat_result) -> bool:
    """Whether any later change would show in its times."""
    return time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) >= _NEWEST_TRUSTED_NS


def _difference(now: os.stat_result, total_b: int, *, is_inode: bool) -> str:
    if not is_inode:
        return (
            "was replaced by another one since it was cut into slices "
            f"(it had {total_b:,} bytes, and has {now.st_size:,} and another inode)"
        )
    if now.st_size < total_b:
        sizes = f"it had {total_b:,} bytes, and has {now.st_size:,}"
        return f"has become shorter since it was cut into slices: {sizes}"
    return (
        "was written to since it was cut into slices, not only at its end "
        f"(it had {total_b:,} bytes, and has {now.st_size:,})"
    )


def _parse(path: str, version: str) -> tuple[int, int, str]:
    try:
        inode, mtime_ns, sample = version.split("-")
        return int(inode, 16), int(mtime_ns, 16), sample
    except ValueError:
        raise SourceChanged(f"file {path}: {version!r} is no version of a file on a disk") from None


def _sample(fd: int, total_b: int) -> str | None:
    """Hash of the content, or of blocks of it; None when the file ends before `total_b`."""
    digest = hashlib.sha256()
    if total_b <= _WHOLE_B:
        blocks = [(0, total_b)]
    else:
        blocks = [(i * (total_b - _BLOCK_B) // (_BLOCKS - 1), _BLOCK_B) for i in range(_BLOCKS)]
    for offset_b, length_b in blocks:
        data = os.pread(fd, length_b, offset_b)
        if len(data) < length_b:
            return None
        digest.update(data)
    return digest.hexdigest()[:16]
