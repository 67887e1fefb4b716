"""Structured logs: one event, some facts; JSON lines for machines, coloured lines on a terminal.

Take `structlog.get_logger()` in a module and log `thing.happened` with facts as keys; bind ids once per
task with `structlog.contextvars.bind_contextvars`. A JSON line has the keys of Teraslice's logs (`name`,
`hostname`, `pid`, `level` as a number, `msg`, `time`, `v`), so that what reads those reads these.
"""

import contextlib
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, cast

import attrs
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, WrappedLogger
from typing_extensions import override

from tsd.addresses import own_host_name
from tsd.error_texts import LINE_CHARS, bounded, error_line, error_text, visible
from tsd.errors import ConfigError
from tsd.observe.journal import Journal, is_journal
from tsd.setting_sections import LogLevels, TerafoundationSettings

LEVELS = {"trace": 10, "debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
"""Our level words as numbers of `logging`; there is nothing below debug."""
_BUNYAN = {"debug": 20, "info": 30, "warning": 40, "error": 50, "critical": 60}
_SYSLOG = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

_SECRET = re.compile(
    r"token|passw|pwd|secret|authorization|credential|api_?key|private_?key|access_?key|cookie", re.IGNORECASE
)
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
REDACTED = "***"
_STACKS_MAX = 20
"""Exceptions of a chain, or of a group, that a line shows."""
_ROLES_OF_USER_CODE = {"controller", "worker"}
LOG_FILE = "tsd.log"
_log = structlog.get_logger()


_JOURNAL_FIELDS = (
    "ex_id",
    "job_id",
    "slice_id",
    "worker_id",
    "node_id",
    "proc_id",
    "operation",
    "request_id",
)
"""Facts that are fields of their own in the journal: TSD_EX_ID and so on, to be searched for. They have a
prefix because systemd itself uses JOB_ID for something else."""

IN_USER_CODE: ContextVar[bool] = ContextVar("in_user_code", default=False)
"""Set in the thread that runs operations, and so in what they run on the loop."""


@attrs.frozen(kw_only=True)
class _Sink:
    """A place that lines go to.

    Attributes:
        place: `console` or `file`.
        level: Lowest number of `logging` that is written.
        render: Event to line, without the newline.
        stream: Where the lines go.
        is_owned: The stream was opened here and is closed when the logs are set up again.
        is_prefixed: The stream leads to the journal, which takes the priority in front of a line off again.
        journal: Where they go instead, with fields, as long as it takes them.
    """

    place: str
    level: int
    render: Callable[[EventDict], str]
    stream: IO[str]
    is_owned: bool = False
    is_prefixed: bool = False
    journal: Journal | None = None

    def write(self, event: EventDict) -> None:
        """Write the line; one that can not be written (terminal gone, disk full) is dropped."""
        priority = _SYSLOG[event["level"]]
        line = self.render(dict(event))
        if self.journal is not None:
            fields = {"MESSAGE": line, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "tsd"}
            fields["TSD_EVENT"] = str(event["event"])
            fields |= {
                f"TSD_{key.upper()}": str(event[key]) for key in _JOURNAL_FIELDS if event.get(key) is not None
            }
            if self.journal.send(fields):
                return
        if self.is_prefixed:
            line = f"<{priority}>{line}"
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()

    def close(self) -> None:
        """Close what was opened here."""
        if self.is_owned:
            self.stream.close()
        if self.journal is not None:
            self.journal.close()


class _LogFile(io.TextIOBase):
    """The log file, which follows its name: a file that was renamed or removed is made again.

    One write a line in append mode, so the processes of a host can share the file.

    Raises:
        ConfigError: It cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        try:
            # A data folder that is not there yet is made as private as the daemon would make it.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            fault = ("terafoundation.log_path", f"{path} cannot be written: {error.strerror or error}")
            raise ConfigError("The log file cannot be used", [fault]) from error

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        status = os.fstat(self._file.fileno())
        self._identity = (status.st_dev, status.st_ino)

    @override
    def write(self, text: str, /) -> int:
        self._follow()
        self._file.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def _follow(self) -> None:
        try:
            status = self._path.stat()
            identity = (status.st_dev, status.st_ino)
        except OSError:
            identity = None
        if identity != self._identity:
            former = self._file
            self._open()
            former.close()

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


class _Sinks:
    """The logger that structlog wraps: every sink gets the events of its level."""

    def __init__(self, sinks: tuple[_Sink, ...], *, is_of_user_code: bool = False) -> None:
        self._sinks = sinks
        self.is_of_user_code = is_of_user_code
        self.lowest = min((sink.level for sink in sinks), default=logging.CRITICAL)

    def at_level(self, level: int) -> "_Sinks":
        """The same places, all with this lowest level."""
        return self.at_levels({sink.place: level for sink in self._sinks})

    def at_levels(self, levels: Mapping[str, int]) -> "_Sinks":
        """The same places, each with its own lowest level."""
        leveled = tuple(attrs.evolve(sink, level=levels[sink.place]) for sink in self._sinks)
        return _Sinks(leveled, is_of_user_code=self.is_of_user_code)

    def log(self, **event: Any) -> None:
        number = logging.getLevelNamesMapping()[event["level"].upper()]
        for sink in self._sinks:
            if number >= sink.level:
                sink.write(event)

    def close(self) -> None:
        """Close what was opened here; later lines of bound loggers are dropped."""
        for sink in self._sinks:
            sink.close()

    debug = info = warning = error = critical = log


class _LibraryHandler(logging.Handler):
    """Passes on what libraries log through the standard library."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            max(10, record.levelno // 10 * 10),
            "library.logged",
            library=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def configure(
    settings: TerafoundationSettings, *, role: str, stream: IO[str] | None = None, console: bool | None = None
) -> None:
    """Set up the logs of this process; calling it again replaces what was set up.

    Args:
        settings: Levels and places.
        role: `master`, `node`, `controller`, `worker` or `cli`; stands in every line.
        stream: Where console lines go, stderr by default.
        console: Whether they are for people; by default when the stream is a terminal.

    Raises:
        ConfigError: The log file cannot be used.
    """
    stream = sys.stderr if stream is None else stream
    for_people = stream.isatty() if console is None else console
    sinks = []
    if "console" in settings.logging:
        render = _people(stream.isatty()) if for_people else _machine(role)
        is_prefixed = not for_people and is_journal(stream)
        sinks.append(
            _Sink(
                place="console",
                level=LEVELS[settings.log_level.console],
                render=render,
                stream=stream,
                is_prefixed=is_prefixed,
                journal=Journal.connect() if is_prefixed else None,
            )
        )
    if "file" in settings.logging:
        file = _LogFile(Path(settings.log_path or ".") / LOG_FILE)
        sinks.append(
            _Sink(
                place="file",
                level=LEVELS[settings.log_level.file],
                render=_machine(role),
                stream=cast("IO[str]", file),
                is_owned=True,
            )
        )
    former = _current()
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)
    _apply(_Sinks(tuple(sinks), is_of_user_code=role in _ROLES_OF_USER_CODE))
    if former is not None:
        former.close()


def note_dropped_lines(count: int) -> None:
    """Say that lines were lost because nothing read the stream that they went to."""
    _log.warning("log.lines_dropped", count=count)


def set_facts(facts: Mapping[str, Any], slice_id: Callable[[], str | None] = lambda: None) -> None:
    """Have these facts in every line of this process, whichever thread writes it.

    Args:
        facts: The ids of its execution.
        slice_id: The id of the slice in work, None between slices; asked for lines of user code only, so a
            slice that logs nothing pays nothing.
    """
    _FACTS.facts, _FACTS.slice_id = dict(facts), slice_id


def unfiltered() -> Any:
    """A logger that writes to the places of this process whatever the level."""
    current = _current() or _Sinks(())
    everything = structlog.make_filtering_bound_logger(logging.NOTSET)
    return structlog.wrap_logger(current.at_level(logging.NOTSET), _processors(), wrapper_class=everything)


def set_level(level: str | None) -> None:
    """Change the lowest level of this process while it runs; None leaves what the settings say."""
    current = _current()
    if level is not None and current is not None:
        _apply(current.at_level(LEVELS[level]))


def set_default_levels(levels: LogLevels) -> None:
    """Change the lowest levels of the places of this process to what the settings say now."""
    current = _current()
    if current is not None:
        _apply(current.at_levels({"console": LEVELS[levels.console], "file": LEVELS[levels.file]}))


def redact(value: Any, key: str = "") -> Any:
    """A copy of a JSON-like value without what looks like a secret by its name, and passwords in URLs."""
    if key and _SECRET.search(key) and value not in (None, "", False):
        return REDACTED
    if isinstance(value, Mapping):
        return {name: redact(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _PASSWORD_IN_URL.sub(rf"\1{REDACTED}", value)
    return value


def _current() -> _Sinks | None:
    """What `configure` set up, if it did."""
    logger = structlog.get_config()["logger_factory"]()
    return logger if isinstance(logger, _Sinks) else None


def _apply(logger: _Sinks) -> None:
    if logger.is_of_user_code:
        # What operations and their libraries log in Python's own way is as welcome as what they log in ours.
        logging.getLogger().setLevel(logger.lowest)
    structlog.configure(
        processors=_processors(),
        wrapper_class=structlog.make_filtering_bound_logger(logger.lowest),
        logger_factory=lambda *_: logger,
        # Module-level loggers must follow `set_level`.
        cache_logger_on_first_use=False,
    )


def _processors() -> list[Any]:
    """What every event goes through."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_facts,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact_event,
    ]


@attrs.define
class _Facts:
    """What `set_facts` was given."""

    facts: dict[str, Any] = attrs.field(factory=dict)
    slice_id: Callable[[], str | None] = lambda: None


_FACTS = _Facts()


def _add_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    known = _FACTS.facts
    if known:
        event = {**known, **event}
    # Threads that user code has started are its own too.
    is_of_user = IN_USER_CODE.get() or threading.current_thread() is not threading.main_thread()
    if is_of_user and "slice_id" not in event and (slice_id := _FACTS.slice_id()) is not None:
        event["slice_id"] = slice_id
    return event


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact(value, key) for key, value in event.items()}


def _error_of(event: EventDict) -> BaseException | None:
    """The exception that an event carries."""
    match event.get("exc_info"):
        case BaseException() as error:
            return error
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exc_info()[1]
        case _:
            return None


def _shortened(stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exceptions with their causes as a line of a log can have them: none may fill a disk."""
    if len(stacks) > _STACKS_MAX:
        stacks = [*stacks[: _STACKS_MAX // 2], *stacks[-_STACKS_MAX // 2 :]]
    return [
        stack
        | {
            "exc_value": visible(bounded(str(stack.get("exc_value", "")), LINE_CHARS)),
            "exc_notes": [visible(bounded(str(note), LINE_CHARS)) for note in stack.get("exc_notes") or ()][
                :_STACKS_MAX
            ],
            "exceptions": [_shortened(each) for each in (stack.get("exceptions") or ())[:_STACKS_MAX]],
        }
        for stack in stacks
    ]


def _tell_error(stream: IO[str], exc_info: Any) -> None:
    """Write an exception for people, as it is told everywhere else."""
    error = exc_info[1]
    stream.write("\n" + (error_text(error) if isinstance(error, BaseException) else repr(exc_info)))


def _people(colors: bool) -> Callable[[EventDict], str]:
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_tell_error)

    def render(event: EventDict) -> str:
        event["timestamp"] = event["timestamp"][11:23]
        return str(renderer(None, event["level"], event))

    return render


def _machine(role: str) -> Callable[[EventDict], str]:
    """JSON lines."""
    # Locals would put records and credentials of users into the logs.
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    hostname = own_host_name()

    def render(event: EventDict) -> str:
        if (error := _error_of(event)) is not None:
            # What happened, before where it did.
            event.setdefault("reason", redact(error_line(error)))
        event = tracebacks(None, "", event)
        if isinstance(event.get("exception"), list):
            event["exception"] = _shortened(event["exception"])
        level = event.pop("level")
        line = {
            "name": "tsd",
            "role": role,
            "hostname": hostname,
            "pid": os.getpid(),
            "level": _BUNYAN[level],
            "time": event.pop("timestamp"),
            "msg": event.pop("event"),
            "v": 0,
        }
        # A fact that has the name of one of these is about something else: about_pid is another process.
        line |= {f"about_{key}" if key in line else key: value for key, value in event.items()}
        return json.dumps(line, default=str, ensure_ascii=False)

    return render
