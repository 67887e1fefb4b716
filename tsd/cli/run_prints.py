"""What the code of a job prints, taken out of the log of its cluster and shown as it was printed.

Names of fields that no record has are told, too: the log of a run that went well is not kept. The processes
of a cluster log what user code prints (`tsd.observe.prints`). The log of a private cluster is a file, which
is read here as it grows.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_MARKS: Final = (b'"code.printed"', b'"field.missing"')
_WARNING: Final = 40
"""Level of what was printed to stderr."""
_LOOK_B: Final = 4 * 1024**2
"""So much is read at once at most, so that the command stays quick."""


class Prints:
    """Reads the log file.

    Args:
        log_file: May not be there yet; None shows nothing.
        show: Called with each text that was printed, and whether it was to stderr.
    """

    def __init__(self, log_file: Path | None, show: Callable[[str, bool], None]) -> None:
        self._log_file = log_file
        self._show = show
        self._at = 0
        self._begun = b""
        self._told: set[str] = set()

    def look(self) -> bool:
        """Show what has come since the last look; whether there may be more."""
        if self._log_file is None:
            return False
        content = b""
        with suppress(OSError), self._log_file.open("rb") as file:
            file.seek(self._at)
            content = file.read(_LOOK_B)
        self._at += len(content)
        *lines, self._begun = (self._begun + content).split(b"\n")
        for line in lines:
            if any(mark in line for mark in _MARKS):
                self._take(line)
        return len(content) == _LOOK_B

    def look_to_the_end(self) -> None:
        """Show all that has come."""
        while self.look():
            pass

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        if event.get("msg") == "field.missing":
            self._tell_missing(str(event.get("option")), str(event.get("field")))
        if event.get("msg") == "code.printed":
            self._show(str(event.get("text", "")), event.get("level", 0) >= _WARNING)

    def _tell_missing(self, option: str, field: str) -> None:
        """Tell of a name that no record had, once: each worker looks for itself."""
        text = f"warning: {option}: no record of the first slice has the field {field}; is it misspelt?"
        if text not in self._told:
            self._told.add(text)
            self._show(text, True)
