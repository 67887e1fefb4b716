"""script: gives the records of a slice to a program, and takes what it writes as records.

The program reads from a pipe, which is written and looked at here rather than by `Popen.communicate`: what
a program left unread stays in the pipe and can be counted. Records that nobody read are a fault and not an
answer.
"""

import array
import contextlib
import ctypes
import fcntl
import os
import selectors
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

import attrs
import msgspec
from typing_extensions import override

from tsd.durations import parse_duration
from tsd.errors import NonRetryable, OperationError
from tsd.operations import formats
from tsd.operations.base import BatchProcessor, operation
from tsd.operations.config import OpConfig, opt
from tsd.operations.record import Record

PROTOCOLS = ("array", "lines")
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.2
"""How often to look whether the worker is stopping."""
_CHUNK_B = 65_536
_ERROR_LINES, _ERROR_B = 10, 4000
"""How much of stderr an error tells."""
_SHOWN_CHARS = 200
_encode = msgspec.json.Encoder().encode
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def _texts(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(each, str) and "\0" not in each for each in value):
        return value
    raise ValueError("must be an array of strings")


def _timeout(value: Any) -> int:
    duration_ms = parse_duration(value)
    if duration_ms <= 0:
        raise ValueError("must be longer than nothing")
    return duration_ms


@attrs.define(kw_only=True)
class ScriptConfig(OpConfig):
    """Options of script."""

    command: str = opt(
        convert=formats.required_string, doc="program; a path, or a name that is looked up in PATH"
    )
    args: list[str] = opt([], convert=_texts, doc="its arguments, each as it is: no shell reads them")
    options: dict[str, Any] = opt(
        {}, doc="`cwd`: the folder to run in; `env`: an object of variables, besides those of the worker"
    )
    asset: str | None = opt(None, doc="bundle of the job in which the command is")
    protocol: str = opt(
        "array",
        choices=PROTOCOLS,
        doc="array: one JSON array in, one out; lines: one JSON object a line; tsd's own",
    )
    timeout: int = opt("5 minutes", convert=_timeout, doc="how long it may take for a slice; tsd's own")

    @override
    def assets_needed(self) -> Iterator[tuple[str, str]]:
        if self.asset is not None:
            yield "asset", self.asset

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        if "\0" in self.command:
            yield "command", "must have no null characters"
        for name, value in self.options.items():
            if name == "env":
                try:
                    formats.environment(value)
                except ValueError as error:
                    yield "options.env", str(error)
            elif name != "cwd":
                yield f"options.{name}", "cannot be set: cwd and env can"
            elif not isinstance(value, str) or not value:
                yield "options.cwd", "must be the path of a folder"


@operation("script", config=ScriptConfig)
class Script(BatchProcessor):
    """Runs a program for each slice that has records, by the protocol of Teraslice.

    The program gets the records as one JSON array on one line of stdin, and writes the records that take
    their place to stdout as one JSON array; metadata do not go through it. With `protocol: lines` it is one
    JSON object a line, both ways, for programs such as `grep` and `awk`. It may answer with fewer records
    or more, but it has to read all of its input: a program that ends with input unread has lost records,
    and the attempt fails. So it does when the program ends with another exit code than 0, writes something
    else, or takes longer than `timeout`; the error has the last lines of its stderr. A record that JSON
    cannot hold is rejected before. The program is killed, with what it has started, when the attempt is cut
    off or the worker stops in a hurry. When the worker is killed, the kernel kills the program, but not
    what that has started.
    """

    @override
    def initialize(self) -> None:
        command = self.config.command
        if self.config.asset is not None:
            command = str(self.ctx.asset_path(self.config.asset) / command)
        self._command = [command, *self.config.args]
        variables: Mapping[str, Any] = self.config.options.get("env") or {}
        self._environment = os.environ | {name: str(value) for name, value in variables.items()}
        self._is_array = self.config.protocol == "array"

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        texts = self._texts_of(records)
        if not texts:
            return []
        given = b"[" + b",".join(texts) + b"]\n" if self._is_array else b"\n".join(texts) + b"\n"
        with tempfile.TemporaryFile() as errors:
            program = self._start(errors)
            try:
                output, unread_b = self._talk(program, given, errors)
            finally:
                _kill(program)
            if program.returncode != 0:
                raise OperationError(f"{self._what} {_ending(program.returncode)}{_last_lines(errors)}")
            if unread_b:
                raise OperationError(self._unread(unread_b, len(given), output) + _last_lines(errors))
        return self._array_of(output) if self._is_array else self._lines_of(output)

    @property
    def _what(self) -> str:
        return f"the program {self.config.command}"

    def _texts_of(self, records: list[Record]) -> list[bytes]:
        texts = []
        for record in records:
            try:
                texts.append(_encode(record))
            except (TypeError, ValueError, RecursionError) as error:
                self.reject(record, error)
        return texts

    def _start(self, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        parent = os.getpid()

        def tie_to_parent() -> None:
            # only calls of the system here: other threads may have held locks when this process was forked
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        try:
            return subprocess.Popen(  # noqa: S603 - the program that the job names is to be run
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.config.options.get("cwd"),
                env=self._environment,
                start_new_session=True,
                preexec_fn=tie_to_parent,  # noqa: PLW1509 - see there; nothing else sees to it that it dies with us
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NonRetryable(f"{self._what} cannot be run: {error}") from error

    def _talk(self, program: "subprocess.Popen[bytes]", given: bytes, errors: IO[bytes]) -> tuple[bytes, int]:
        """Write its input and read what it writes, until it has closed its output and ended.

        Returns:
            What it wrote, and how many bytes of its input it did not read.
        """
        assert program.stdin is not None, "it was opened as a pipe"
        assert program.stdout is not None, "it was opened as a pipe"
        ends_at = time.monotonic() + self.config.timeout / 1000
        output: list[bytes] = []
        rest = memoryview(given)
        # this end is kept: what is left in the pipe when the program has ended can be counted at it
        left = os.open(f"/proc/self/fd/{program.stdin.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with selectors.DefaultSelector() as ready:
                os.set_blocking(program.stdin.fileno(), False)
                ready.register(program.stdin, selectors.EVENT_WRITE)
                ready.register(program.stdout, selectors.EVENT_READ)
                while program.stdout in ready.get_map():
                    for key, _ in ready.select(self._wait_s(ends_at, errors)):
                        if key.fileobj is program.stdout:
                            chunk = os.read(program.stdout.fileno(), _CHUNK_B)
                            output.append(chunk)
                            if not chunk:
                                ready.unregister(program.stdout)
                        elif program.poll() is not None:
                            _close(ready, program.stdin)  # nobody is left to read it
                        else:
                            with contextlib.suppress(BlockingIOError):
                                rest = rest[os.write(program.stdin.fileno(), rest[:_CHUNK_B]) :]
                            if not rest:
                                _close(ready, program.stdin)
                    if not program.stdin.closed and program.poll() is not None:
                        _close(ready, program.stdin)
            while program.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(self._wait_s(ends_at, errors))
            return b"".join(output), len(rest) + _waiting_b(left)
        finally:
            os.close(left)

    def _wait_s(self, ends_at: float, errors: IO[bytes]) -> float:
        """How long to wait until the next look.

        Raises:
            OperationError: The time is over.
            Interrupted: The worker is stopping.
        """
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            message = f"{self._what} took longer than {self.config.timeout / 1000:g} s"
            raise OperationError(message + _last_lines(errors))
        self.ctx.sleep(0)
        return min(_LOOK_S, left_s)

    def _unread(self, unread_b: int, all_b: int, output: bytes) -> str:
        wrote = f", having written {len(output)} bytes" if output else ""
        advice = (
            'it gets all records as one JSON array on one line; with "protocol": "lines" one object a line'
            if self._is_array
            else 'it gets one JSON object a line; with "protocol": "array" all as one JSON array on one line'
        )
        return f"{self._what} ended{wrote} with {unread_b} of {all_b} bytes of its input unread: {advice}"

    def _array_of(self, output: bytes) -> list[Record]:
        advice = 'it must write one JSON array of objects, or have "protocol": "lines" for one object a line'
        if not output.strip():
            raise OperationError(f"{self._what} wrote nothing: {advice}, and [] for no records")
        try:
            found = msgspec.json.decode(output)
        except (ValueError, RecursionError) as error:
            raise OperationError(
                f"{self._what} wrote no JSON array ({error}): {_shown(output)}; {advice}"
            ) from error
        if not isinstance(found, list):
            raise OperationError(f"{self._what} wrote no JSON array: {_shown(output)}; {advice}")
        for number, each in enumerate(found):
            if not isinstance(each, dict):
                raise OperationError(
                    f"{self._what} wrote as element {number} no JSON object: {_shown(_encode(each))}"
                )
        return Record.make_many(found)

    def _lines_of(self, output: bytes) -> list[Record]:
        records = []
        for number, line in enumerate(output.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                records.append(Record.from_bytes(line))
            except (ValueError, RecursionError) as error:
                raise OperationError(
                    f"{self._what} wrote in line {number} {error}: {_shown(line)}"
                ) from error
        return records


def _shown(output: bytes) -> str:
    return output[:_SHOWN_CHARS].decode(errors="replace").rstrip("\n")


def _close(ready: selectors.BaseSelector, pipe: IO[bytes]) -> None:
    ready.unregister(pipe)
    pipe.close()


def _waiting_b(pipe: int) -> int:
    """How many bytes are in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def _kill(program: "subprocess.Popen[bytes]") -> None:
    """End a program that has not ended, with what it has started, and close its pipes."""
    if program.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
    for pipe in (program.stdin, program.stdout):
        if pipe is not None:
            pipe.close()
    program.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"


def _last_lines(errors: IO[bytes]) -> str:
    """The end of stderr, for an error; empty when there is nothing."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _ERROR_B))
    lines = errors.read().decode(errors="replace").rstrip().splitlines()[-_ERROR_LINES:]
    return ":\n" + "\n".join(lines) if lines else ""
