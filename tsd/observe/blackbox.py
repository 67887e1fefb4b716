"""What a process leaves behind when it dies: what it was doing, and its last words.

A black box is a small piece of anonymous memory that a process shares with the one that watches it.
It is made before the fork, so it needs no name and no file, and the watcher reads it after the end,
when nobody writes any more.

Layout: a page, then text. The page begins with numbers of 8 bytes:

* the slice: its number while it is in work, -2 minus its number when it has ended, -1 before the first one;
* when the loop of the process was last at work, in microseconds of `time.monotonic`, 0 for never;
* whether that loop broke;
* the lengths of the two texts that follow in the page, in bytes: what the process does that is no slice, and
  last words that could not be written behind the page.

The text behind the page is written through the file descriptor, which `faulthandler` can also do from inside
a segmentation fault. User code may close that descriptor with others that are not its own; the page stays.
"""

import faulthandler
import mmap
import os
import time
from contextlib import suppress

_PAGE_B = mmap.PAGESIZE
_NOTHING = -1
_ALIVE, _BROKEN, _DOING_B, _WORDS_B = 1, 2, 3, 4
_DOING_AT, _WORDS_AT = 64, 1024
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
        self.inode = os.fstat(self._fd).st_ino
        """Of its memory: names the process in the memory maps of all that it forks."""
        self._map = mmap.mmap(self._fd, _PAGE_B)
        self._numbers = memoryview(self._map).cast("q")
        self._numbers[0] = _NOTHING

    @property
    def running(self) -> int | None:
        """The number of the slice in work, None between slices."""
        number = self._numbers[0]
        return number if number >= 0 else None

    @property
    def ended(self) -> int | None:
        """The number of the slice that ended last, None while one is in work or when there was none."""
        number = self._numbers[0]
        return -2 - number if number < _NOTHING else None

    def mark(self, number: int) -> None:
        """Say that slice `number` is in work from now on."""
        self._numbers[0] = number

    def clear(self) -> None:
        """Say that no slice is in work any more."""
        numbers = self._numbers
        if (number := numbers[0]) >= 0:
            numbers[0] = -2 - number

    def note_alive(self) -> None:
        """Say that the loop of the process is at work."""
        self._numbers[_ALIVE] = int(time.monotonic() * 1e6)

    def silence_s(self) -> float:
        """For how long the loop of the process has been silent; 0 when it never said anything."""
        alive = self._numbers[_ALIVE]
        return max(0.0, time.monotonic() - alive / 1e6) if alive else 0.0

    @property
    def is_broken(self) -> bool:
        """Whether the loop broke, so that the slice in work need not be the cause."""
        return bool(self._numbers[_BROKEN])

    def note_broken(self) -> None:
        """Say that the loop of the process broke."""
        self._numbers[_BROKEN] = 1

    @property
    def doing(self) -> str:
        """What the process does that is no slice; empty when it is nothing that it would tell."""
        return self._text(_DOING_B, _DOING_AT)

    def note_doing(self, what: str) -> None:
        """Say what is done from now on; empty for nothing, or for slices."""
        self._put(what, _DOING_B, _DOING_AT, _WORDS_AT)

    def is_intact(self) -> bool:
        """Whether nobody has closed our descriptor, as what closes all descriptors does."""
        try:
            return os.lseek(self._fd, 0, os.SEEK_CUR) >= _PAGE_B
        except OSError:
            return False

    def say(self, words: str) -> None:
        """Add last words; call it from a handler of last resort."""
        if self.is_intact():
            with suppress(OSError):
                os.write(self._fd, words.encode("utf-8", "replace"))
                return
        self._put(words, _WORDS_B, _WORDS_AT, _PAGE_B)

    def catch_faults(self) -> None:
        """Let a fatal signal (SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL) write the Python stacks here.

        The descriptor must stay open as long as the process lives.
        """
        faulthandler.enable(file=self._fd, all_threads=True)

    def words(self) -> str:
        """The last words, at most `MAX_WORDS` characters: the start and the end of longer ones."""
        size_b = os.fstat(self._fd).st_size - _PAGE_B
        if size_b <= 0:
            return self._text(_WORDS_B, _WORDS_AT)[:MAX_WORDS].strip()
        # A handler that ran wild may have written more than is worth reading whole.
        head = os.pread(self._fd, min(size_b, 4 * MAX_WORDS), _PAGE_B).decode("utf-8", "replace").strip()
        if size_b <= 4 * MAX_WORDS and len(head) <= MAX_WORDS:
            return head
        tail_b = min(size_b, 4 * MAX_WORDS)
        tail = os.pread(self._fd, tail_b, _PAGE_B + size_b - tail_b).decode("utf-8", "replace").strip()
        joint = "\n...\n"
        return head[:_HEAD] + joint + tail[-(MAX_WORDS - _HEAD - len(joint)) :]

    def _put(self, text: str, length_at: int, start: int, end: int) -> None:
        encoded = text.encode("utf-8", "replace")[: end - start]
        self._numbers[length_at] = 0  # so that nobody reads half of it
        self._map[start : start + len(encoded)] = encoded
        self._numbers[length_at] = len(encoded)

    def _text(self, length_at: int, start: int) -> str:
        return self._map[start : start + self._numbers[length_at]].decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of the memory on this side."""
        self._numbers.release()
        self._map.close()
        os.close(self._fd)
