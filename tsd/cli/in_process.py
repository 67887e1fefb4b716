"""`tsd run --in-process JOB.json`: a job in this one process, without daemons, for debugging.

The slices run one after another in the main thread, which has the terminal: `breakpoint()` works, an
exception has the whole stack of the user, and what is printed is printed. Slicer and operations are built,
checked and called as in a cluster, by the harness that tests of operations use. There is no store: nothing is
recorded, so nothing can be recovered.
"""

import os
import pdb  # noqa: T100 - for those of the user
import sys
import time
from bdb import BdbQuit
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

import attrs
from typing_extensions import override

from tsd.cli import exit_codes
from tsd.cli.run import JobFileError, read_job
from tsd.cli.run_report import SHOWN_ERRORS, SHOWN_REJECTS, FailedSlice, Outcome, told
from tsd.core.records import Status
from tsd.error_texts import error_text
from tsd.errors import AssetError, JobInvalid
from tsd.observe import log
from tsd.observe.streams import print_to
from tsd.operations.job_warnings import text_of
from tsd.operations.slice import Slice
from tsd.operations.testing.errors import HarnessError
from tsd.operations.testing.job import JobHarness
from tsd.settings import Settings

_IDLE_S = 0.1
"""How long to wait when the slicer of a persistent job has nothing for now."""
_EXIT_CODES = {
    Status.COMPLETED: exit_codes.OK,
    Status.FAILED: exit_codes.FAILED,
    Status.STOPPED: exit_codes.STOPPED,
}


def run_in_process(
    job_file: Path, load: Callable[[], Settings], *, bundles: Sequence[Path] = (), quiet: bool = False
) -> int:
    """Run a job file to its end in this process; the exit code of the command.

    Args:
        job_file: A Teraslice job file. Slices are not tried again unless it has `max_retries`.
        load: Makes the settings; ends the command when they are wrong.
        bundles: Folders of bundles, whose source is run as it stands there, and zips.
        quiet: Say nothing unless the job fails.
    """
    try:
        job = {"max_retries": 0, **read_job(job_file)}
    except JobFileError as error:
        print(f"tsd: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    settings = load()
    log.configure(attrs.evolve(settings.terafoundation, logging=("console",)), role="cli", console=True)
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _break
    with ExitStack() as stack:
        try:
            harness = JobHarness(
                job,
                bundle=[_folder_of(bundle, stack) for bundle in bundles],
                modules=settings.tsd.operation_modules,
                connections=settings.terafoundation.connectors,
            )
        except (JobInvalid, AssetError, HarnessError, OSError) as error:
            print(f"tsd: the job was not taken: {error}", file=sys.stderr)
            return exit_codes.CONFIG
        except Exception as error:  # noqa: BLE001 - the seam to user code: conversions and checks of options
            print(f"tsd: the job was not taken: {error_text(error)}", file=sys.stderr)
            return exit_codes.CONFIG
        for warning in harness.warnings:
            print(f"warning: {text_of(warning)}", file=sys.stderr)
        os.environ.update({str(k): str(v) for k, v in (harness.job.get("env_vars") or {}).items()})
        run = _Run(harness)
        outcome = run.to_the_end()
    if not quiet or outcome.status != Status.COMPLETED:
        for line in told(outcome):
            print_to(sys.stderr if quiet else sys.stdout, line)
    return _EXIT_CODES[Status(outcome.status)]


class _Run:
    """One job on its way."""

    def __init__(self, harness: JobHarness) -> None:
        self._harness = harness
        self._began = time.monotonic()
        self._processed = self._failed = 0
        self._errors: list[FailedSlice] = []

    def to_the_end(self) -> Outcome:
        """Run all slices and the flush; what became of it."""
        try:
            with self._harness:
                self._run_slices()
                self._flush()
                if not self._failed:
                    self._harness.slicer.complete_output()
        except (KeyboardInterrupt, BdbQuit, _Left):
            return self._outcome(Status.STOPPED)
        except Exception as error:  # noqa: BLE001 - the seam to user code: the slicer, or what is initialized
            return self._outcome(Status.FAILED, error_text(error))
        if self._failed:
            return self._outcome(Status.FAILED)
        return self._outcome(Status.COMPLETED)

    def _run_slices(self) -> None:
        slicer = self._harness.slicer
        while not slicer.is_finished:
            slices = slicer.create_slices()
            for slice_ in slices:
                self._run_one(slice_)
            if not slices and not slicer.is_finished:
                time.sleep(_IDLE_S)

    def _run_one(self, slice_: Slice) -> None:
        slicer, worker = self._harness.slicer, self._harness.worker
        slicer.dispatch(slice_)
        result = worker.run_slice_full(slice_)
        text = None if result.error is None else error_text(result.error)
        slicer.complete(slice_, text)
        self._processed += 1
        if text is not None:
            self._note(slice_, result.error, text)

    def _flush(self) -> None:
        result = self._harness.worker.flush_full()
        if result is not None and result.error is not None:
            self._note(result.slice, result.error, error_text(result.error))

    def _note(self, slice_: Slice, error: BaseException | None, text: str) -> None:
        if isinstance(error, BdbQuit):
            raise error
        self._failed += 1
        if len(self._errors) < SHOWN_ERRORS:
            self._errors.append(FailedSlice(slice_id=slice_.slice_id, request=slice_.request, error=text))

    def _outcome(self, status: Status, reason: str = "") -> Outcome:
        return Outcome(
            status=status,
            processed=self._processed,
            failed=self._failed,
            duration_s=round(time.monotonic() - self._began, 1),
            rejected=len(self._harness.rejected),
            rejects=[
                f"{each.operation} ({each.position}): {error_text(each.error)}"
                for each in self._harness.rejected[:SHOWN_REJECTS]
            ],
            reason=reason,
            errors=self._errors,
        )


class _Left(BaseException):
    """The user left the debugger: nothing that catches exceptions is to go on."""


class _Debugger(pdb.Pdb):
    """The usual one, but that leaving it ends the job and fails no slice."""

    @override
    def set_quit(self) -> NoReturn:
        super().set_quit()
        raise _Left


def _break(*_args: Any, **_options: Any) -> None:
    caller: FrameType = sys._getframe(1)  # noqa: SLF001 - as `pdb.set_trace` finds where it was called
    _Debugger().set_trace(caller)


def _folder_of(bundle: Path, stack: ExitStack) -> Path:
    """The folder of a bundle; a zip is unpacked for as long as the stack lives."""
    if bundle.is_dir():
        return bundle
    from tsd.assets.archive import unpack  # noqa: PLC0415 - seldom needed
    from tsd.cli.bundle_build import LIMITS  # noqa: PLC0415 - heavy, and seldom needed

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="tsd-bundle-")))
    unpack(bundle, folder, LIMITS)
    return folder
