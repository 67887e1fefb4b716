"""dead_letter_file: keeps rejected records in files, one for each slice that has any."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
from typing_extensions import override

from tsd.error_texts import error_text, visible
from tsd.operations import formats
from tsd.operations.apis import Api, api
from tsd.operations.config import ApiConfig, opt
from tsd.operations.context import DeadLetterSink, OpContext, Rejection
from tsd.operations.dates import to_iso
from tsd.operations.fragments import Fragment
from tsd.operations.letters import described
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.standard.slice_files import SliceFiles

_SUFFIX = ".ldjson"
_encode = msgspec.json.Encoder(enc_hook=repr).encode


@attrs.define(kw_only=True)
class DeadLetterFileConfig(ApiConfig):
    """Options of dead_letter_file."""

    path: str = opt(convert=formats.required_string, doc="folder to write into")
    durable: bool = opt(True, doc="a slice is done only when its rejected records are on the disk")


class DeadLetterFiles(DeadLetterSink):
    """Writes the rejected records of a slice to a file of its own, which another attempt replaces."""

    def __init__(self, config: DeadLetterFileConfig, ctx: OpContext, execution: Mapping[str, Any]) -> None:
        """Nothing is touched yet."""
        self._root = Path(config.path)
        self._ctx = ctx
        self._execution = execution
        self._files = SliceFiles(self._root, is_durable=config.durable, sleep=ctx.sleep)
        # rejected outside of a slice, which does not run again: a name that no other process has
        self._outside = f"outside-{secrets.token_hex(8)}"
        self._work: tuple[Slice | None, int] = (None, 0)
        self._lines: list[bytes] = []

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OperationError: It can not be written.
        """
        self._files.prepare()

    @override
    def take(self, rejections: Sequence[Rejection]) -> None:
        """Write the file of the slice: these, with those that came in this attempt before.

        Raises:
            OperationError: Writing failed, or another attempt of the slice is writing.
        """
        self._begin()
        lines = [*self._lines, *(_encode(self._letter(each)) + b"\n" for each in rejections)]
        name = self._name()
        self._files.commit(name, {name + _SUFFIX: b"".join(lines)}, only_file=name + _SUFFIX)
        self._lines = lines

    def forget_earlier(self) -> None:
        """Remove what an earlier attempt of the slice in work left.

        Raises:
            OperationError: It can not be removed, or another attempt of the slice is writing.
        """
        self._begin()
        name = self._name()
        if (self._root / (name + _SUFFIX)).exists():
            self._files.commit(name, {}, only_file=name + _SUFFIX)

    def _begin(self) -> None:
        work = (self._ctx.slice, self._ctx.attempt)
        if work != self._work:
            self._work = work
            self._lines = []

    def _name(self) -> str:
        slice_ = self._ctx.slice
        if slice_ is None:
            return f"{self._execution.get('ex_id', '')}-{self._outside}"
        return f"{slice_.ex_id}-{slice_.slice_id}"

    def _letter(self, rejection: Rejection) -> dict[str, Any]:
        record, error, slice_ = rejection.record, rejection.error, self._ctx.slice
        letter = {
            "record": _plain(record),
            "error": error_text(error) if isinstance(error, BaseException) else visible(str(error)),
            "operation": rejection.operation,
            "slice_id": rejection.slice_id,
            "attempt": rejection.attempt,
            "ex_id": self._execution.get("ex_id") if slice_ is None else slice_.ex_id,
            "job_id": self._execution.get("job_id"),
            "time": to_iso(rejection.time),
            "metadata": _plain(record.metadata) if isinstance(record, Record | Fragment) else {},
        }
        if isinstance(record, Record) and (raw := record.get_raw_data_or_none()) is not None:
            letter["raw"] = _text(raw)
        return letter


def _plain(value: Any) -> Any:
    """What JSON can hold of a value: see `_text` for bytes; what it can not hold is told by `repr`."""
    if isinstance(value, bytes | bytearray):
        return _text(bytes(value))
    try:
        return msgspec.Raw(_encode(value))
    except (TypeError, ValueError, RecursionError):
        return described(value)


def _text(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


@api("dead_letter_file", config=DeadLetterFileConfig)
class DeadLetterFile(Api):
    """Writes rejected records to files: name it as `_dead_letter_action` of operations and other APIs.

    Each slice that rejects records has one file, `<execution>-<slice>.ldjson`, also when it failed. A line
    has `record`, `error` (with its traceback), `operation`, `slice_id`, `attempt`, `ex_id`, `job_id`, `time`
    and `metadata`, and `raw` when the record has raw data. Bytes are text when they are UTF-8, else an object
    `{"base64": text}`. A slice that is run again replaces its file, or removes it when it rejects nothing any
    more.
    """

    @override
    def initialize(self) -> None:
        self._sink = DeadLetterFiles(self.config, self.ctx, self.execution)
        self._sink.prepare()

    @override
    def create(self, *params: Any) -> DeadLetterFiles:
        return self._sink

    def on_slice_initialized(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Forget an attempt that another worker made."""
        self._sink.forget_earlier()

    def on_slice_retry(self, slice_id: str) -> None:  # noqa: ARG002 - a hook
        """Forget the attempt before."""
        self._sink.forget_earlier()
