"""script: gives the records of a slice to a program, and takes what it writes as records."""

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
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

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.2
"""How often to look whether the worker is stopping."""
_ERROR_LINES, _ERROR_B = 10, 4000
"""How much of stderr an error tells."""
_SHOWN_CHARS = 200
_encode_lines = msgspec.json.Encoder().encode_lines
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
    timeout: int = opt("5 minutes", convert=_timeout, doc="how long it may take for a slice; tsd's own")

    @override
    def faults(self) -> Iterator[tuple[str, str]]:
        for name, value in self.options.items():
            if name == "env":
                try:
                    formats.environment(value)
                except ValueError as error:
                    yield "options.env", str(error)
            elif name != "cwd":
                yield f"options.{name}", "can not be set: cwd and env can"
            elif not isinstance(value, str) or not value:
                yield "options.cwd", "must be the path of a folder"


@operation("script", config=ScriptConfig)
class Script(BatchProcessor):
    """Runs a program for each slice that has records.

    It reads one JSON object a line from stdin, and writes the records that take their place to stdout, also
    one a line; metadata do not go through it. The attempt fails when the program ends with another exit code
    than 0, writes what is no JSON object, or takes longer than `timeout`; the error has the last lines of its
    stderr. It is killed, with what it has started, when the attempt is cut off or the worker stops in a
    hurry. When the worker is killed, the kernel kills the program, but not what that has started.
    """

    @override
    def initialize(self) -> None:
        command = self.config.command
        if self.config.asset is not None:
            command = str(self.ctx.asset_path(self.config.asset) / command)
        self._command = [command, *self.config.args]
        variables: Mapping[str, Any] = self.config.options.get("env") or {}
        self._environment = os.environ | {name: str(value) for name, value in variables.items()}

    @override
    def on_batch(self, records: list[Record]) -> list[Record]:
        if not records:
            return []
        # the input is a file, as Popen does not go on writing to a pipe when its wait was cut short
        with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as errors:
            lines.write(_encode_lines(records))
            lines.seek(0)
            program = self._start(lines, errors)
            try:
                output = self._output_of(program, errors)
            finally:
                _kill(program)
            if program.returncode != 0:
                raise OperationError(f"{self._what} {_ending(program.returncode)}{_last_lines(errors)}")
        return self._records_of(output)

    @property
    def _what(self) -> str:
        return f"the program {self.config.command}"

    def _start(self, lines: IO[bytes], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        parent = os.getpid()

        def tie_to_parent() -> None:
            # only calls of the system here: other threads may have held locks when this process was forked
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        try:
            return subprocess.Popen(  # noqa: S603 - the program that the job names is to be run
                self._command,
                stdin=lines,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.config.options.get("cwd"),
                env=self._environment,
                start_new_session=True,
                preexec_fn=tie_to_parent,  # noqa: PLW1509 - see there; nothing else sees to it that it dies with us
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NonRetryable(f"{self._what} can not be run: {error}") from error

    def _output_of(self, program: "subprocess.Popen[bytes]", errors: IO[bytes]) -> bytes:
        """What the program writes until it ends."""
        ends_at = time.monotonic() + self.config.timeout / 1000
        while True:
            wait_s = min(_LOOK_S, max(0, ends_at - time.monotonic()))
            try:
                return program.communicate(timeout=wait_s)[0]
            except subprocess.TimeoutExpired as look:
                if time.monotonic() >= ends_at:
                    message = f"{self._what} took longer than {self.config.timeout / 1000:g} s"
                    raise OperationError(message + _last_lines(errors)) from look
            self.ctx.sleep(0)  # raises when the worker is stopping

    def _records_of(self, output: bytes) -> list[Record]:
        records = []
        for number, line in enumerate(output.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                records.append(Record.from_bytes(line))
            except ValueError as error:
                shown = line[:_SHOWN_CHARS].decode(errors="replace")
                raise OperationError(f"{self._what} wrote in line {number} {error}: {shown}") from error
        return records


def _kill(program: "subprocess.Popen[bytes]") -> None:
    """End a program that has not ended, with what it has started, and close its pipe."""
    if program.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
    if program.stdout is not None:
        program.stdout.close()
    program.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def _last_lines(errors: IO[bytes]) -> str:
    """The end of stderr, for an error; empty when there is nothing."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _ERROR_B))
    lines = errors.read().decode(errors="replace").rstrip().splitlines()[-_ERROR_LINES:]
    return ":\n" + "\n".join(lines) if lines else ""
