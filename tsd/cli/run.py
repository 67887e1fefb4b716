"""`tsd run JOB.json`: one job from start to end on a cluster of its own."""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tsd.cli import exit_codes
from tsd.cli.client import ApiError, MasterClient, MasterUnreachable
from tsd.cli.interrupts import asked_to_stop, held_signals
from tsd.cli.private_cluster import LOG_FILE, ClusterFailed, PrivateCluster
from tsd.cli.progress import ProgressView, Snapshot
from tsd.cli.run_folder import KEPT_DAYS, RunFolder, run_folder
from tsd.cli.run_prints import Prints
from tsd.cli.run_report import SHOWN_ERRORS, SHOWN_REJECTS, FailedSlice, Outcome, told
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import AssetError
from tsd.observe.streams import print_to
from tsd.operations.job_warnings import text_of
from tsd.settings import Settings

POLL_S = 0.2
UNREACHABLE_FOR_S = 60.0
"""How long the master may be away (its supervisor starts it again) before the command gives up."""
_SPIN_S = 0.1
_RECORDS_READ = "tsd_records_read_total"

Document = dict[str, Any]
"""A JSON object as the API sent it."""
T = TypeVar("T")


class JobFileError(Exception):
    """The file is no job; the message says which file and why."""


def read_job(job_file: Path) -> Document:
    """The job of a file.

    Raises:
        JobFileError: It cannot be read, or is no JSON object.
    """
    try:
        text = job_file.read_text(encoding="utf-8")
    except OSError as error:
        raise JobFileError(f"{job_file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise JobFileError(f"{job_file} is no JSON: it is no UTF-8 text ({error})") from error
    if not text.strip():
        raise JobFileError(f"{job_file} is empty: a job is a JSON object")
    try:
        job = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobFileError(f"{job_file} is no JSON: {error}") from error
    if not isinstance(job, dict):
        raise JobFileError(f"{job_file}: a job is a JSON object, with `name` and `operations`")
    return job


def run_job(
    job_file: Path,
    load: Callable[[dict[str, object]], Settings],
    *,
    data_dir: Path | None,
    keep: bool,
    verbose: bool,
    quiet: bool = False,
    bundles: Sequence[Path] = (),
) -> int:
    """Run a job file to its end and show how it goes; the exit code of the command.

    Args:
        job_file: A Teraslice job file.
        load: Makes the settings from overrides; ends the command when they are wrong.
        data_dir: Data folder that stays; None: a temporary one.
        keep: Leave the temporary folder in place.
        verbose: Daemons log to stderr.
        quiet: Say nothing unless something is wrong; what the code of the job prints is shown.
        bundles: Zips of bundles, and folders of such, to load before the job is posted.
    """
    try:
        job = read_job(job_file)
    except JobFileError as error:
        print(f"tsd: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    with held_signals(), run_folder(data_dir, keep=keep) as folder:
        settings = load(_settings_of(folder.path, verbose=verbose))
        cluster = PrivateCluster(settings, verbose=verbose)
        name = str(job.get("name", "job"))
        view = ProgressView(name, quiet=quiet)
        code = exit_codes.FAILED
        prints = Prints(
            None if verbose else folder.path / LOG_FILE, lambda text, err: view.print(text, to_stderr=err)
        )
        try:
            run = _Run(job, cluster, view, prints, bundles, quiet=quiet)
            code = run.to_the_end()
            if run.has_letters:
                folder.keep_for_a_while(
                    "it has dead letters; `tsd up --data-dir FOLDER` serves them at /v1/dead_letters"
                )
        except ClusterFailed as error:
            print(f"tsd: {error}\n{error.last_words}", file=sys.stderr)
            code = error.exit_code
        except (ApiError, MasterUnreachable) as error:
            print(f"tsd: {error}", file=sys.stderr)
        except (AssetError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            print(f"tsd: {error}", file=sys.stderr)
            code = exit_codes.CONFIG
        except KeyboardInterrupt:
            view.say("stopped before the job began")
            code = exit_codes.STOPPED
        finally:
            cluster.stop()
        prints.look_to_the_end()  # operations may print when they shut down
        if code == exit_codes.FAILED:
            folder.keep_for_a_while("the job failed")
        _say_where(folder, verbose=verbose, quiet=quiet and code == exit_codes.OK)
        return code


def _settings_of(folder: Path, *, verbose: bool) -> dict[str, object]:
    """A cluster that nobody else reaches, with everything in one folder."""
    return {
        "tsd.data_dir": str(folder),
        "tsd.listen": "127.0.0.1",
        "tsd.mesh_listen": "127.0.0.1",
        "tsd.mesh_port": 0,
        "teraslice.port": 0,
        "teraslice.hostname": "127.0.0.1",
        "teraslice.master_hostname": "127.0.0.1",
        # Their stderr is a file in the folder, from which prints are taken.
        "terafoundation.logging": None if verbose else ["console"],
    }


def _say_where(folder: RunFolder, *, verbose: bool, quiet: bool) -> None:
    if not folder.is_kept or quiet:
        return
    log = "" if verbose else f", the daemons' log {folder.path / LOG_FILE}"
    why = f" (kept for {KEPT_DAYS} days, as {folder.kept_as})" if folder.kept_as else ""
    print_to(sys.stderr, f"The data folder is {folder.path}{log}{why}")


class _Run:
    """One job on its way: what was asked and what was seen last.

    Attributes:
        has_letters: Records of it are dead letters in the store.
    """

    def __init__(
        self,
        job: Document,
        cluster: PrivateCluster,
        view: ProgressView,
        prints: Prints,
        bundles: Sequence[Path] = (),
        *,
        quiet: bool = False,
    ) -> None:
        self._job = job
        self._bundles = bundles
        self._cluster = cluster
        self._view = view
        self._prints = prints
        self._quiet = quiet
        self.has_letters = False
        self._stops_asked = 0
        self._seen_at = time.monotonic()
        self._last = Snapshot(status=Status.PENDING)

    def to_the_end(self) -> int:
        """Run it; the exit code.

        Raises:
            AssetError: A folder is no good bundle.
            KeyboardInterrupt: It was stopped before the job was posted.
            ClusterFailed, ApiError, MasterUnreachable: The cluster does not do what it should.
        """
        view = self._view
        with view:
            view.wait("starting a cluster")
            client = self._cluster.start()
            for bundle in self._bundles:
                try:
                    self._load(client, bundle)
                except ApiError as error:
                    view.say(f"tsd: the bundle {bundle} was not taken: {error.message}", is_fault=True)
                    return exit_codes.CONFIG if error.status < 500 else exit_codes.FAILED
            view.wait("checking the job")
            try:
                posted = self._patiently(lambda: client.post("/v1/jobs", self._job))
            except ApiError as error:
                view.say(f"tsd: the job was not taken: {error.message}", is_fault=True)
                return exit_codes.CONFIG if error.status < 500 else exit_codes.FAILED
            for warning in posted.get("warnings", ()):
                view.say(f"warning: {text_of(warning)}", is_fault=True)
            execution = self._watch(client, posted["ex_id"], view)
            self._prints.look_to_the_end()
        return self._tell(client, execution)

    def _load(self, client: MasterClient, bundle: Path) -> None:
        path = bundle
        if bundle.is_dir():
            from tsd.cli.bundle_build import build  # noqa: PLC0415 - heavy, and seldom needed

            self._view.wait(f"building the bundle {bundle}")
            path = self._patiently(lambda: build(bundle).path)
        size_mb = path.stat().st_size / 1e6
        self._view.wait(f"loading {path.name} ({size_mb:,.1f} MB)")
        self._patiently(lambda: client.upload("/v1/assets", path))

    def _patiently(self, function: Callable[[], T]) -> T:
        """What a call returns that may take long, while the view lives and Ctrl-C is heard.

        Raises:
            KeyboardInterrupt: A stop signal came first.
            Exception: What the function raised.
        """
        results: list[tuple[T | None, BaseException | None]] = []

        def call() -> None:
            try:
                results.append((function(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again where it was asked for
                results.append((None, error))

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_SPIN_S)
            self._view.spin()
            if asked_to_stop(0):
                raise KeyboardInterrupt
        ((result, error),) = results
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there was no error

    def _watch(self, client: MasterClient, ex_id: str, view: ProgressView) -> Document:
        """Show the execution until it has ended; returns its document."""
        while True:
            if asked_to_stop(POLL_S):
                self._stop(client, ex_id, view)
            self._prints.look()
            self._cluster.check()
            try:
                execution: Document = client.get(f"/v1/ex/{ex_id}")
                is_over = execution["_status"] in TERMINAL_STATUSES
                stats = execution.get("_slicer_stats") if is_over else self._controller(client, ex_id)
            except (ApiError, MasterUnreachable):
                # It starts again, or its store can not be read for a moment.
                if time.monotonic() - self._seen_at > UNREACHABLE_FOR_S:
                    raise
                continue
            self._last = self._snapshot(execution, stats or {})
            view.show(self._last, is_last=is_over)
            if is_over:
                return execution

    def _controller(self, client: MasterClient, ex_id: str) -> Document:
        """What the controller says, empty while there is none."""
        try:
            (stats,) = client.get(f"/v1/ex/{ex_id}/controller")
        except (ApiError, ValueError):
            return {}
        return dict(stats)

    def _stop(self, client: MasterClient, ex_id: str, view: ProgressView) -> None:
        """Ask the job to stop: first after its running slices, then at once."""
        self._stops_asked += 1
        force = "true" if self._stops_asked > 1 else "false"
        words = "stopping at once" if self._stops_asked > 1 else "stopping after the running slices"
        view.say(f"{words} (Ctrl-C again hurries)" if self._stops_asked == 1 else words)
        try:
            client.post(f"/v1/ex/{ex_id}/_stop?blocking=false&force={force}")
        except (ApiError, MasterUnreachable) as error:
            view.say(f"tsd: could not stop the job: {error}", is_fault=True)

    def _snapshot(self, execution: Document, stats: Document) -> Snapshot:
        now = time.monotonic()
        processed = stats.get("processed", self._last.processed)
        queued, active = stats.get("queued", 0), stats.get("workers_active", 0)
        rate = (processed - self._last.processed) / max(now - self._seen_at, 0.001)
        is_sliced = execution["_status"] == Status.COMPLETED or stats.get("queuing_complete")
        self._seen_at = now
        return Snapshot(
            status=execution["_status"],
            processed=processed,
            failed=stats.get("failed", self._last.failed),
            queued=queued,
            workers=stats.get("workers_joined", self._last.workers),
            total=processed + queued + active if is_sliced else None,
            # Smoothed, because a snapshot spans a few batches only.
            rate=rate if self._last.rate == 0 else 0.7 * self._last.rate + 0.3 * rate,
        )

    def _tell(self, client: MasterClient, execution: Document) -> int:
        """Print how it ended; the exit code that says the same."""
        status = execution["_status"]
        stats = execution.get("_slicer_stats") or {}
        failed = stats.get("failed", 0)
        rejected = _letters_of(execution)
        self.has_letters = bool(rejected)
        outcome = Outcome(
            status=status,
            processed=stats.get("processed", 0),
            failed=failed,
            duration_s=stats.get("job_duration", 0),
            records=_records_read(client),
            rejected=rejected,
            rejects=_first_letters(client, execution["ex_id"]) if rejected else (),
            reason=execution.get("_failureReason") or "",
            errors=_errors(client, execution["ex_id"]) if failed else (),
        )
        if not self._quiet or status != Status.COMPLETED:
            for line in told(outcome):
                print_to(sys.stderr if self._quiet else sys.stdout, line)
        if status == Status.COMPLETED:
            return exit_codes.OK
        was_stopped = status == Status.STOPPED or self._stops_asked > 0
        return exit_codes.STOPPED if was_stopped else exit_codes.FAILED


def _errors(client: MasterClient, ex_id: str) -> list[FailedSlice]:
    try:
        found = client.get(f"/v1/ex/{ex_id}/errors?size={SHOWN_ERRORS}&sort=_updated:asc")
    except (ApiError, MasterUnreachable):
        return []
    return [
        FailedSlice(
            slice_id=str(each.get("slice_id")),
            request=str(each.get("request")),
            error=str(each.get("error", "")),
        )
        for each in found
    ]


def _first_letters(client: MasterClient, ex_id: str) -> list[str]:
    try:
        found = client.get(f"/v1/ex/{ex_id}/dead_letters?size={SHOWN_REJECTS}&sort=slicer_order,time")
    except (ApiError, MasterUnreachable):
        return []
    return [f"{each.get('operation')} ({each.get('position')}): {each.get('error', '')}" for each in found]


def _letters_of(execution: Document) -> int | None:
    counts = execution.get("_dead_letters")
    return counts.get("stored") if isinstance(counts, dict) else None


def _records_read(client: MasterClient) -> int | None:
    """How many records the readers gave; the job is the only one of the cluster."""
    try:
        sheet = str(client.get("/metrics"))
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in sheet.splitlines()
            if line.startswith(_RECORDS_READ)
        )
    except (ApiError, MasterUnreachable, ValueError):
        return None
