"""Exit codes of the `tsd` command, those of sysexits.h where there is one."""

OK = 0
FAILED = 1
STOPPED = 2
"""`tsd run`: the user stopped the job. Also what click answers to wrong usage."""
BUSY = 75
"""Another tsd uses the data folder."""
PERMISSION = 77
"""Something may not be read, written or bound; trying again does not help."""
CONFIG = 78
"""A setting or the job is wrong; trying again does not help."""
INTERRUPTED = 130
"""Ctrl-C, as shells tell it (128 + SIGINT); `tsd run` has `STOPPED` for it."""
READER_GONE = 141
"""Whoever read the output has gone, as `head` does; as shells tell it (128 + SIGPIPE)."""
