"""`tsd run JOB.json`: one job from start to end on a cluster of its own."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsd.cli import exit_codes
from tsd.cli.client import ApiError, MasterClient, MasterUnreachable
from tsd.cli.interrupts import asked_to_stop, held_signals
from tsd.cli.private_cluster import LOG_FILE, ClusterFailed, PrivateCluster
from tsd.cli.progress import ProgressView, Snapshot
from tsd.core.records import TERMINAL_STATUSES, Status
from tsd.errors import AssetError
from tsd.operations.job_warnings import text_of
from tsd.settings import Settings

POLL_S = 0.2
SHOWN_ERRORS = 3
UNREACHABLE_FOR_S = 60.0
"""How long the master may be away (its supervisor starts it again) before the command gives up."""

Document = dict[str, Any]
"""A JSON object as the API sent it."""


def run_job(
    job_file: Path,
    load: Callable[[dict[str, object]], Settings],
    *,
    data_dir: Path | None,
    keep: bool,
    verbose: bool,
    bundles: Sequence[Path] = (),
) -> int:
    """Run a job file to its end and show how it goes; the exit code of the command.

    Args:
        job_file: A Teraslice job file.
        load: Makes the settings from overrides; ends the command when they are wrong.
        data_dir: Data folder that stays; None: a temporary one.
        keep: Leave the temporary folder in place.
        verbose: Daemons log to stderr.
        bundles: Zips of bundles, and folders of such, to load before the job is posted.
    """
    try:
        job = json.loads(job_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"tsd: {job_file}: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    try:
        zips = _zips_of(bundles)
    except (AssetError, OSError) as error:
        print(f"tsd: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    with held_signals(), _folder(data_dir, keep=keep) as folder:
        settings = load(
            {
                "tsd.data_dir": str(folder),
                "tsd.listen": "127.0.0.1",
                "tsd.mesh_listen": "127.0.0.1",
                "tsd.mesh_port": 0,
                "teraslice.port": 0,
                "teraslice.hostname": "127.0.0.1",
                "teraslice.master_hostname": "127.0.0.1",
            }
        )
        cluster = PrivateCluster(settings, verbose=verbose)
        try:
            return _Run(job, cluster, zips).to_the_end()
        except ClusterFailed as error:
            print(f"tsd: {error}\n{error.last_words}", file=sys.stderr)
            return error.exit_code
        except (ApiError, MasterUnreachable) as error:
            print(f"tsd: {error}", file=sys.stderr)
            return exit_codes.FAILED
        except KeyboardInterrupt:
            return exit_codes.STOPPED
        finally:
            cluster.stop()
            if data_dir is not None or keep:
                print(f"The data folder is {folder}, the daemons' log {folder / LOG_FILE}", file=sys.stderr)


class _Run:
    """One job on its way: what was asked and what was seen last."""

    def __init__(self, job: object, cluster: PrivateCluster, zips: Sequence[Path] = ()) -> None:
        self._job = job
        self._zips = zips
        self._cluster = cluster
        self._stops_asked = 0
        self._seen_at = time.monotonic()
        self._last = Snapshot(status=Status.PENDING)

    def to_the_end(self) -> int:
        name = str(self._job.get("name", "job")) if isinstance(self._job, dict) else "job"
        client = self._cluster.start()
        with ProgressView(name) as view:
            for path in self._zips:
                try:
                    client.upload("/v1/assets", path)
                except ApiError as error:
                    view.say(f"tsd: the bundle {path} was not taken: {error.message}")
                    return exit_codes.CONFIG if error.status < 500 else exit_codes.FAILED
            try:
                posted = client.post("/v1/jobs", self._job)
            except ApiError as error:
                view.say(f"tsd: the job was not taken: {error.message}")
                return exit_codes.CONFIG if error.status < 500 else exit_codes.FAILED
            for warning in posted.get("warnings", ()):
                view.say(f"warning: {text_of(warning)}")
            execution = self._watch(client, posted["ex_id"], view)
        return self._tell(client, execution)

    def _watch(self, client: MasterClient, ex_id: str, view: ProgressView) -> Document:
        """Show the execution until it has ended; returns its document."""
        while True:
            if asked_to_stop(POLL_S):
                self._stop(client, ex_id, view)
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
            view.say(f"tsd: could not stop the job: {error}")

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
        processed, failed = stats.get("processed", 0), stats.get("failed", 0)
        duration_s = stats.get("job_duration", 0)
        slices = "1 slice" if processed == 1 else f"{processed:,} slices"
        print(f"{status}: {slices}, {failed:,} failed, in {duration_s} s")
        if reason := execution.get("_failureReason"):
            print(f"reason: {reason}")
        for error in self._errors(client, execution["ex_id"]) if failed else ():
            first, *_ = str(error.get("error", "")).strip().splitlines() or [""]
            print(f"  slice {error.get('slice_id')} {error.get('request')}: {first}")
        if status == Status.COMPLETED:
            return exit_codes.OK
        was_stopped = status == Status.STOPPED or self._stops_asked > 0
        return exit_codes.STOPPED if was_stopped else exit_codes.FAILED

    @staticmethod
    def _errors(client: MasterClient, ex_id: str) -> list[Document]:
        try:
            errors = client.get(f"/v1/ex/{ex_id}/errors?size={SHOWN_ERRORS}&sort=_updated:asc")
        except (ApiError, MasterUnreachable):
            return []
        return list(errors)


def _zips_of(bundles: Sequence[Path]) -> list[Path]:
    """The zips of bundles; folders are built.

    Raises:
        AssetError: One is no good bundle.
        OSError: One can not be read or written.
    """
    if not any(path.is_dir() for path in bundles):
        return list(bundles)
    from tsd.cli.bundle_build import build  # noqa: PLC0415 - heavy, and seldom needed

    return [build(path).path if path.is_dir() else path for path in bundles]


@contextmanager
def _folder(data_dir: Path | None, *, keep: bool) -> Iterator[Path]:
    """The data folder of the run; a temporary one is removed unless it is to be kept."""
    if data_dir is not None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield data_dir.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="tsd-run-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
