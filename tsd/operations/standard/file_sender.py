"""Records of a slice to the files that are its output, wherever they are stored."""

from itertools import chain

from tsd.errors import NonRetryable
from tsd.operations.context import OpContext
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.standard.file_encode import FileEncoder, group_by_folder, names_of
from tsd.operations.standard.file_options import Reject, WriterOptions
from tsd.operations.standard.output_fields import nowhere
from tsd.operations.standard.storage import Storage

_LONGEST_NAME_B = 255
"""What file systems allow."""


class FileSender:
    """Takes the records of a slice, in any number of calls, and writes its files when the slice completes.

    Until then nothing is on the disk, so an attempt that fails leaves nothing.
    """

    def __init__(
        self,
        options: WriterOptions,
        ctx: OpContext,
        reject: Reject,
        storage: Storage,
        *,
        label: str = "",
    ) -> None:
        """Nothing is touched yet.

        Args:
            options: Where and how.
            ctx: Says which slice is in work.
            reject: Takes records that can not be written.
            storage: Where to write.
            label: Tells the files of several senders in one folder apart.
        """
        self._options = options
        self._ctx = ctx
        self._label = label
        self._reject = reject
        self._encoder = FileEncoder(options, reject, may_hold_anything=ctx.runs_user_code)
        self._output = storage.output(options.path or "", is_durable=options.durable, sleep=ctx.sleep)
        self._unseen = {("partition_by", path) for path in options.partition_by}
        if options.format != "raw":
            self._unseen |= {("fields", path) for path in options.fields}
        self._work: tuple[Slice | None, int] = (None, 0)
        self._records: dict[str, list[Record]] = {}
        self._parts: dict[str, list[bytes]] = {}
        self._has_agreed_fields = not (options.is_table and options.fields) or options.writes_header

    def prepare(self) -> None:
        """Make the folder, and clear away what dead attempts left.

        Raises:
            OperationError: It can not be written.
        """
        self._output.prepare()

    def verify(self, route: str | None = None) -> None:
        """Check that a route can be a folder, which is made when it is needed; a slash makes several.

        Raises:
            ValueError: It can not, or it would be hidden, or lead out of the path.
        """
        for name in route.split("/") if route else ():
            if not name or name.startswith(".") or "\0" in name or len(name.encode()) > _LONGEST_NAME_B:
                raise ValueError(f"route {route!r} can not be a folder below the path")

    def send(self, records: list[Record], route: str = "") -> int:
        """Take records for the slice in work; returns how many.

        Args:
            records: What to write.
            route: A folder below the path to write into.

        Raises:
            ValueError: The route can not be one.
        """
        self.verify(route)
        self._begin()
        self._look_for_fields(records)
        groups = group_by_folder(records, self._options.partition_by, self._reject)
        parts = {}
        if (
            self._encoder.is_appendable
        ):  # all is encoded before any is taken, so that a failing call takes nothing
            parts = {folder: self._encoder.encode(group) for folder, group in groups.items()}
        for folder, group in groups.items():
            place = "/".join(part for part in (route, folder) if part)
            if folder in parts:
                self._parts.setdefault(place, []).append(parts[folder])
            else:
                self._records.setdefault(place, []).extend(group)
        return len(records)

    def _look_for_fields(self, records: list[Record]) -> None:
        """Tell of names in the options that no record has, each once: they are most likely misspelt."""
        if not self._unseen or not records:
            return
        is_json = self._options.format in {"ldjson", "json"}
        for option, path in sorted(self._unseen):
            if nowhere(records, path, is_anywhere=is_json and option == "fields"):
                self._ctx.log.warning(
                    "field.missing", option=option, field=path, path=self._options.path, records=len(records)
                )
        self._unseen.clear()

    def commit(self) -> None:
        """Make what was sent for the slice in work its only output; a second call does it again.

        Raises:
            OperationError: Writing failed, or another attempt of the slice is writing.
        """
        self._begin()
        slice_ = self._ctx.slice
        assert slice_ is not None, "a commit comes at the end of a slice"
        self._agree_on_fields()
        name = "-".join(part for part in (slice_.ex_id, slice_.slice_id, self._label) if part)
        contents = {place: self._encoder.whole(parts) for place, parts in self._parts.items()}
        if self._options.agrees_on_columns and self._records:
            self._encoder.columns = dict.fromkeys(self._agreed_columns())
        contents |= {place: self._encoder.encode(records) for place, records in self._records.items()}
        files = {
            f"{place}/{name}{self._options.suffix}" if place else name + self._options.suffix: content
            for place, content in contents.items()
            if content
        }
        is_single = not self._options.partition_by and all("/" not in path for path in files)
        self._output.commit(name, files, only_file=name + self._options.suffix if is_single else None)

    def _agreed_columns(self) -> list[str]:
        """The columns of this slice, unless another slice has decided on some."""
        return self._agree(names_of(chain(*self._records.values())))

    def _agree_on_fields(self) -> None:
        """Refuse, once, other `fields` than those of the files that are there without a header.

        Raises:
            NonRetryable: A recovery or a replay has other fields than the execution before it.
        """
        if self._has_agreed_fields or not self._records:
            return
        fields = self._options.fields
        if (agreed := self._agree(fields)) != fields:
            raise NonRetryable(
                f"the files in folder {self._options.path} have no header, and the columns "
                f"{', '.join(agreed)}; fields now has {', '.join(fields)}, and values could be taken "
                "for each other: set fields as it was, write to another folder, or start the job anew"
            )
        self._has_agreed_fields = True

    def _agree(self, columns: list[str]) -> list[str]:
        ex_id = str(self._ctx.execution.get("ex_id", ""))
        return self._output.agree("-".join(filter(None, ("columns", self._label))), ex_id, columns)

    def _begin(self) -> None:
        """Forget what was sent in another slice or attempt."""
        work = (self._ctx.slice, self._ctx.attempt)
        if work != self._work:
            self._work = work
            self._records = {}
            self._parts = {}
