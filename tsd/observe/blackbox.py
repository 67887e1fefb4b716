"""What a process leaves behind when it dies: the slice it was running, and its last words.

A black box is a small piece of anonymous memory that a process shares with the one that watches it.
It is made before the fork, so it needs no name and no file, and the watcher reads it after the end,
when nobody writes any more. Layout: a page whose first 8 bytes are the number of the running slice
(-1 for none), then text. The text is written through the file descriptor, which `faulthandler` can
also do from inside a segmentation fault.
"""

import faulthandler
import mmap
import os

_PAGE_B = mmap.PAGESIZE
_NOTHING = -1
CRASHED = 70
"""Exit code of a process whose own or user code gave up in an unforeseen way (EX_SOFTWARE of sysexits)."""
MAX_WORDS = 2_000
"""Characters of last words that are handed on."""
_HEAD = 600
"""Of longer ones so many are kept from the start: there `faulthandler` says what happened."""


class BlackBox:
    """Shared memory that outlives its process; see the module."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("tsd-blackbox")
        os.ftruncate(self._fd, _PAGE_B)
        os.lseek(self._fd, _PAGE_B, os.SEEK_SET)
        self._map = mmap.mmap(self._fd, _PAGE_B)
        self._numbers = memoryview(self._map).cast("q")
        self._numbers[0] = _NOTHING

    @property
    def running(self) -> int | None:
        """The number of the slice in work, None between slices."""
        number = self._numbers[0]
        return None if number == _NOTHING else number

    def mark(self, number: int) -> None:
        """Say that slice `number` is in work from now on."""
        self._numbers[0] = number

    def clear(self) -> None:
        """Say that no slice is in work."""
        self._numbers[0] = _NOTHING

    def say(self, words: str) -> None:
        """Add last words; call it from a handler of last resort."""
        os.write(self._fd, words.encode("utf-8", "replace"))

    def catch_faults(self) -> None:
        """Let a fatal signal (SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL) write the Python stacks here.

        The descriptor must stay open as long as the process lives.
        """
        faulthandler.enable(file=self._fd, all_threads=True)

    def words(self) -> str:
        """The last words, at most `MAX_WORDS` characters: the start and the end of longer ones."""
        size_b = os.fstat(self._fd).st_size - _PAGE_B
        if size_b <= 0:
            return ""
        # A handler that ran wild may have written more than is worth reading whole.
        head = os.pread(self._fd, min(size_b, 4 * MAX_WORDS), _PAGE_B).decode("utf-8", "replace").strip()
        if size_b <= 4 * MAX_WORDS and len(head) <= MAX_WORDS:
            return head
        tail_b = min(size_b, 4 * MAX_WORDS)
        tail = os.pread(self._fd, tail_b, _PAGE_B + size_b - tail_b).decode("utf-8", "replace").strip()
        joint = "\n...\n"
        return head[:_HEAD] + joint + tail[-(MAX_WORDS - _HEAD - len(joint)) :]

    def close(self) -> None:
        """Let go of the memory on this side."""
        self._numbers.release()
        self._map.close()
        os.close(self._fd)
