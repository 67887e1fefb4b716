"""The errors of tsd.

```
TsdError
├─ ConfigError            faults of a cluster file, each with its path; exit code 78
│   └─ PortInUse          another process has a port, perhaps not for long
├─ JobInvalid             faults of a job, each with its path; HTTP 400
├─ WireError
│   ├─ LocalWireError     we built something wrong: a bug here
│   └─ RemoteWireError    the peer did; never ends a daemon
├─ StateError
│   ├─ IllegalTransition  the status does not allow this event; HTTP 422
│   ├─ NotFound           no such job, execution or node; HTTP 404
│   ├─ NotActive          the execution has ended or was never there; HTTP 404
│   ├─ Conflict           something else is already running; HTTP 409
│   ├─ Gone               the job was deleted; HTTP 410
│   ├─ Unavailable        the controller is not connected (yet); HTTP 500
│   ├─ NotReady           the master starts or ends, try again; HTTP 503
│   ├─ InvalidRequest     a parameter is wrong; HTTP 400
│   └─ Unprocessable      the document says what it may not say here; HTTP 422
├─ StoreError             the store refused or failed; HTTP 503
│   ├─ StoreCorrupt       what is stored can not be read
│   ├─ StoreLocked        another master holds this store
│   ├─ StoreUnusable      its file is no file, too long a path, or not ours
│   └─ SchemaTooNew       the store was written by a newer tsd
├─ AssetError             a bundle is missing or does not load
│   └─ AssetInvalid       an upload is no bundle, or breaks a rule of bundles; HTTP 422
│       └─ AssetTooLarge  it is larger than the limit; HTTP 413
└─ OperationError         user code failed; fails a slice, not a worker
    ├─ NonRetryable       no retry can help: one attempt only
    │   └─ SourceChanged  what is read is no longer what was cut into slices
    ├─ CannotResume       a slicer can not go on where an earlier run stood; fails the execution
    └─ Fatal              the worker can not go on either
```
"""

import errno
from collections.abc import Sequence


class TsdError(Exception):
    """Base of all errors that tsd raises on purpose."""


class FaultsError(TsdError):
    """Several faults of one document, reported together.

    Attributes:
        faults: (path, message) pairs in document order; path is like `operations[1].size`.
    """

    def __init__(self, title: str, faults: Sequence[tuple[str, str]]) -> None:
        self.title = title
        self.faults = tuple(faults)
        lines = [f"{path}: {message}" if path else message for path, message in self.faults]
        super().__init__("\n".join([title, *lines]) if len(lines) != 1 else f"{title}: {lines[0]}")


class ConfigError(FaultsError):
    """The cluster file or a setting is wrong; the caller shows it and exits with 78."""


class PortInUse(ConfigError):
    """Another process has the port; the same may work later."""


class JobInvalid(FaultsError):
    """The job is wrong; nothing was stored."""


class WireError(TsdError):
    """A frame could not be built or read."""


class LocalWireError(WireError):
    """We tried to send something that is no message: a bug here."""


class RemoteWireError(WireError):
    """A peer sent something that is no message; count it and go on."""


class StateError(TsdError):
    """A request does not fit the state of what it names; nothing was changed."""


class IllegalTransition(StateError):
    """The status table has no entry for this event."""


class NotFound(StateError):
    """No job or execution has this id."""


class NotActive(StateError):
    """The execution has ended or does not exist, so nothing can be told to it."""


class Conflict(StateError):
    """Another execution or process stands in the way."""


class Gone(StateError):
    """The job was deleted."""


class Unavailable(StateError):
    """The execution's controller is not connected (yet)."""


class NotReady(StateError):
    """The master has not started yet, or is ending; the same request works again soon."""


class InvalidRequest(StateError):
    """A parameter of the request is missing or wrong."""


class Unprocessable(StateError):
    """The document says something that it may not say in this request."""


class StoreError(TsdError):
    """The store refused or failed; nothing of the request was stored."""


class StoreCorrupt(StoreError):
    """The store holds something that can not be read."""


class StoreLocked(StoreError):
    """Another master process holds this store."""


class StoreUnusable(StoreError):
    """The file of the store cannot be used, and trying again does not help."""


class SchemaTooNew(StoreError):
    """The store was written by a newer tsd; upgrade tsd or restore a backup."""


class AssetError(TsdError):
    """A bundle is missing, damaged or does not load."""


class AssetInvalid(AssetError):
    """What was uploaded is no bundle, or one that breaks a rule; nothing of it was kept."""


class AssetTooLarge(AssetInvalid):
    """What was uploaded is larger than `tsd.max_asset_size`; nothing of it was kept."""


class OperationError(TsdError):
    """User code failed; the slice fails, the worker goes on."""


class NonRetryable(OperationError):
    """Raise it from an operation when no retry can help: the slice fails at once."""


class SourceChanged(NonRetryable):
    """A slice cannot be read because its source was replaced, rewritten or shortened after it was cut."""

    def __init__(self, reason: str) -> None:
        """The reason is a clause without a full stop; what to do about it is added."""
        super().__init__(f"{reason}; to read it as it is now, start the job anew")
        self.reason = reason


class CannotResume(OperationError):
    """Raise it from a slicer that can not go on where an earlier run of its execution stood."""

    def __init__(self, reason: str) -> None:
        """The reason is a clause without a full stop; what to do about it is added."""
        super().__init__(f"{reason}: this execution cannot be continued, start the job anew")
        self.reason = reason


class Fatal(OperationError):
    """Raise it from an operation when the worker itself can not go on."""


def exit_code_of(error: BaseException) -> int:
    """The exit code of a daemon that this error ends, with the meanings of sysexits.h.

    Returns:
        77 when a permission is missing and 78 when a setting or the store is wrong, which no restart mends;
        75 when another process uses the data folder; else 1.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return 77
    if isinstance(cause, FileExistsError | NotADirectoryError):
        return 78
    match error:
        case ConfigError() | AssetError() | SchemaTooNew() | StoreUnusable() | StoreCorrupt():
            return 78
        case StoreLocked():
            return 75
        case _:
            return 1
