"""A cluster that belongs to one command: started in a child process, ended with it."""

import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tsd.cli import exit_codes
from tsd.cli.client import ApiError, ApiFile, MasterClient, MasterUnreachable
from tsd.cli.forking import fork
from tsd.cli.interrupts import asked_to_stop
from tsd.cli.up import run_up
from tsd.core.cluster.views import SLOTS_LEAST
from tsd.errors import TsdError
from tsd.settings import Settings

LOG_FILE = "tsd.log"
START_WITHIN_S = 60.0
NODE_WITHIN_S = 30.0
"""A node that has not found its master by then does not find it: both are on this host."""
_GRACE_S = 15.0
"""How long past its own deadlines the supervisor may take to end."""
_POLL_S = 0.02


class ClusterFailed(TsdError):
    """The private cluster did not start or has ended on its own.

    Attributes:
        exit_code: Of the cluster, where it has one.
        last_words: End of its log.
    """

    def __init__(self, message: str, *, exit_code: int, last_words: str) -> None:
        self.exit_code = exit_code
        self.last_words = last_words
        super().__init__(message)


class PrivateCluster:
    """An embedded cluster in a child process of its own process group.

    To be used inside of `held_signals`.

    Args:
        settings: Loopback addresses; ports may be 0.
        verbose: Daemons log to our stderr; otherwise to `tsd.log` in the data folder.
    """

    def __init__(self, settings: Settings, *, verbose: bool) -> None:
        self._settings = settings
        self._log_file = None if verbose else settings.tsd.data_dir / LOG_FILE
        self._pid: int | None = None
        self._nodeless: tuple[MasterClient, float] | None = None
        """The master, as long as it has no node, and until when it may have none."""

    def start(self) -> MasterClient:
        """Start it and wait until it serves.

        Raises:
            ClusterFailed: It ended, does not serve within a minute, or has too few slots for any job.
            KeyboardInterrupt: A stop signal came first.
        """
        slots = self._settings.teraslice.workers
        if slots < SLOTS_LEAST:
            raise ClusterFailed(
                f"a job needs {SLOTS_LEAST} slots, one for its controller and one for a worker, and"
                f" teraslice.workers is {slots}; set it to {SLOTS_LEAST} or more",
                exit_code=exit_codes.CONFIG,
                last_words="",
            )
        api = ApiFile.in_folder(self._settings.tsd.data_dir)
        api.remove()
        self._pid = fork(partial(_run, self._settings, self._log_file), death_signal=signal.SIGTERM)
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            self.check()
            url = api.read_url()
            if url is not None and MasterClient(url).is_ready():
                client = MasterClient(url)
                self.expect_node(client)
                return client
            if asked_to_stop(_POLL_S):
                raise KeyboardInterrupt
        raise self._failure(f"the cluster does not serve within {START_WITHIN_S:.0f} s", exit_codes.FAILED)

    def check(self) -> None:
        """Raise ClusterFailed when the cluster has ended, or its node has not come."""
        if self._pid is None:
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._pid = None
            code = os.waitstatus_to_exitcode(status)
            raise self._failure("the cluster has ended on its own", code if code > 0 else exit_codes.FAILED)
        self.check_node()

    @property
    def expects_node(self) -> bool:
        """Whether no node has come yet."""
        return self._nodeless is not None

    def expect_node(self, client: MasterClient, within_s: float = NODE_WITHIN_S) -> None:
        """From now on the master has to get a node within this time."""
        self._nodeless = client, time.monotonic() + within_s

    def check_node(self) -> None:
        """Raise ClusterFailed when the node that is expected has not come in time."""
        if self._nodeless is None:
            return
        client, deadline = self._nodeless
        with suppress(ApiError, MasterUnreachable):
            if client.get("/ready")["checks"]["capacity"]["nodes"]:
                self._nodeless = None
                return
        if time.monotonic() > deadline:
            raise self._failure(
                f"the cluster has had no node for {NODE_WITHIN_S:.0f} s, so no job can run",
                exit_codes.FAILED,
            )

    def stop(self) -> None:
        """Drain it and wait for its end; kill it when it takes longer than its own deadlines.

        Each stop signal that comes meanwhile is passed on, which hurries it.
        """
        if self._pid is None:
            return
        os.kill(self._pid, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.teraslice.shutdown_timeout_s + _GRACE_S
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            if asked_to_stop(0.2):
                os.kill(self._pid, signal.SIGTERM)
        self._pid = None

    def _failure(self, message: str, exit_code: int) -> ClusterFailed:
        last_words = ""
        if self._log_file is not None:
            with suppress(OSError):
                last_words = "\n".join(self._log_file.read_text(encoding="utf-8").splitlines()[-15:])
        return ClusterFailed(message, exit_code=exit_code, last_words=last_words)


def _run(settings: Settings, log_file: Path | None) -> int:
    """The supervisor's process; it drains when the command dies."""
    if log_file is not None:
        _redirect(log_file)
    return run_up(settings, announce=False)


def _redirect(log_file: Path) -> None:
    target = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
