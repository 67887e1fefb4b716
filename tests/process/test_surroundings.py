"""Daemons in odd surroundings: inherited state, streams nobody reads, odd names, ports and files in the way.

Each works, or ends once with exit code 77 or 78 and one sentence that names the path or address.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.daemons import ROOT, Cluster, free_port, pids_of_session, until

pytestmark = pytest.mark.slow

JOB = {
    "name": "surroundings",
    "lifecycle": "once",
    "workers": 1,
    "operations": [{"_op": "data_generator", "size": 100}, {"_op": "noop"}],
}


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


class Up:
    """`tsd up` started in a way of its own, in a session of its own.

    Args:
        cluster: Whose settings it has.
        prepare: Run in the child before exec.
        options: Of Popen.
    """

    def __init__(self, cluster, *arguments, command="up", prepare=None, **options):
        self.cluster = cluster
        config = cluster.write_config("up")
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **cluster.environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tsd.cli.main", command, "--config", str(config), *arguments],
            cwd=cluster.folder,
            env=options.pop("env", environment),
            stdin=subprocess.DEVNULL,
            preexec_fn=prepare,  # noqa: PLW1509 - the tests have no threads here
            start_new_session=True,
            **options,
        )

    def run_a_job(self):
        """Until it has completed; the status of the execution."""
        until(self._has_slots, "a node has joined", 40)
        answer = httpx.post(f"{self.url}/v1/jobs", json=JOB, timeout=20)
        assert answer.status_code == 200, answer.text
        ex_id = answer.json()["ex_id"]

        def ended():
            execution = httpx.get(f"{self.url}/v1/ex/{ex_id}", timeout=20).json()
            return execution if execution["_status"] in {"completed", "failed"} else None

        execution = until(ended, "the job has ended", 40)
        return execution["_status"], execution["_failureReason"]

    @property
    def url(self):
        return json.loads((self.cluster.data_dir / "api.json").read_text())["url"]

    def _has_slots(self):
        try:
            return httpx.get(f"{self.url}/ready", timeout=5).json()["checks"]["capacity"]["slots"]
        except (OSError, ValueError, httpx.HTTPError):
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            return False

    def stop(self, within_s=30):
        self.process.terminate()
        return self.process.wait(within_s)

    def end(self):
        for pid in pids_of_session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(5)


@pytest.fixture
def up(cluster):
    started = []

    def start(*arguments, **options):
        started.append(Up(cluster, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


# --- inherited state -------------------------------------------------------------------------------


def test_ignored_and_blocked_signals_of_the_parent_mean_nothing(up):
    def leave_behind():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})

    started = up(prepare=leave_behind)
    assert started.run_a_job() == ("completed", "")
    nodes = children(started.process.pid)
    os.kill(nodes[-1], signal.SIGKILL)

    until(lambda: set(children(started.process.pid)) - set(nodes), "a daemon was started again")
    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


def children(pid):
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.mark.parametrize("closed", [(0, 1, 2), (2,)])
def test_standard_streams_that_are_closed_do_not_matter(up, closed):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    started = up(prepare=close)

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


def test_standard_streams_that_are_full_do_not_matter(up):
    with open("/dev/full", "wb") as full:
        started = up(stdout=full, stderr=full)

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


@pytest.mark.parametrize("names", [("stdout",), ("stderr",), ("stdout", "stderr")], ids=" and ".join)
@pytest.mark.parametrize("options", [(), ("--in-process",)], ids=["cluster", "in process"])
@pytest.mark.parametrize("how", ["completed", "failed"])
def test_a_run_says_by_its_exit_code_how_it_ended_though_its_streams_are_full(tmp_path, names, options, how):
    first = (
        {"_op": "test-reader"} if how == "completed" else {"_op": "test-reader", "passthrough_slice": True}
    )
    job = {"name": "full", "lifecycle": "once", "workers": 1, "max_retries": 0}
    (tmp_path / "job.json").write_text(json.dumps(job | {"operations": [first, {"_op": "noop"}]}))
    environment = {name: value for name, value in os.environ.items() if name != "TSD_CONFIG"}

    with open("/dev/full", "wb") as full:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | dict.fromkeys(names, full)
        command = [sys.executable, "-m", "tsd.cli.main", "run", *options, str(tmp_path / "job.json")]
        ended = subprocess.run(command, cwd=ROOT, env=environment, **streams, timeout=60, check=False)

    assert ended.returncode == (0 if how == "completed" else 1)


def test_a_reader_that_has_left_does_not_matter(up):
    reader, writer = os.pipe()
    os.close(reader)
    started = up(stdout=writer, stderr=writer)
    os.close(writer)

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


def test_a_stream_that_nobody_reads_stops_neither_work_nor_the_end(up, cluster):
    reader, writer = os.pipe()
    started = up(stdout=writer, stderr=writer)
    os.close(writer)
    for _ in range(12):  # at the level debug that is far more than the 64 KiB of a pipe
        assert started.run_a_job() == ("completed", "")

    assert httpx.get(f"{started.url}/health", timeout=5).status_code == 200
    assert len(os.read(reader, 1 << 20)) > 60_000
    assert started.stop() == 0
    os.close(reader)


# --- odd names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["data folder", "TMPDIR"])
def test_a_folder_whose_name_is_not_utf_8_works(up, cluster, tmp_path, place):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    if place == "data folder":
        cluster.data_dir = folder
        started = up("--data-dir", str(folder))
    else:
        cluster.environment["TMPDIR"] = str(folder)
        started = up()

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


def test_a_host_name_that_is_not_utf_8_works(up):
    if os.geteuid() != 0:
        pytest.skip("a UTS namespace needs root")

    def rename():
        libc = __import__("ctypes").CDLL(None)
        assert libc.unshare(0x04000000) == 0  # CLONE_NEWUTS
        assert libc.sethostname(b"caf\xe9", 4) == 0

    started = up(prepare=rename)

    assert started.run_a_job() == ("completed", "")
    assert httpx.get(f"{started.url}/v1/cluster/state", timeout=5).status_code == 200
    assert started.stop() == 0


# --- addresses -------------------------------------------------------------------------------------


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
@pytest.mark.parametrize(
    "settings",
    [
        {"teraslice.master_hostname": "::1", "tsd.mesh_listen": "::1"},
        {"tsd.mesh_listen": "[::1]", "tsd.listen": "[::1]"},
        {"teraslice.master_hostname": "[::1]", "tsd.mesh_listen": "::", "tsd.allow_plaintext": True},
    ],
    ids=lambda settings: ",".join(f"{key.partition('.')[2]}={value}" for key, value in settings.items()),
)
def test_ipv6_addresses_work_wherever_an_address_is_taken(up, cluster, settings):
    cluster.configure(**settings)
    started = up()

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0"])
def test_other_addresses_of_this_host_work_too(up, cluster, host):
    cluster.configure(**{"tsd.mesh_listen": host, "tsd.allow_plaintext": True})
    started = up()

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0


# --- ports -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["teraslice.port", "tsd.mesh_port"])
def test_a_port_in_use_is_waited_for_and_told(up, cluster, key):
    port = free_port()
    cluster.configure(**{key: port})
    log = cluster.folder / "log"
    with log.open("wb") as stderr, closing(socket.create_server(("127.0.0.1", port))):
        started = up(stderr=stderr)
        until(lambda: f"port {port} is in use" in log.read_text().replace(" of 127.0.0.1", ""), "it says so")
        assert started.process.poll() is None

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0
    assert log.read_text().count("master.port_in_use") == 1
    assert f"can not listen: {key}: " in log.read_text()
    assert "child.lost" not in log.read_text()


def test_a_master_that_waits_for_a_port_ends_when_it_is_told_to(up, cluster):
    port = free_port()
    cluster.configure(**{"teraslice.port": port})
    log = cluster.folder / "log"
    with log.open("wb") as stderr, closing(socket.create_server(("127.0.0.1", port))):
        started = up(command="master", stderr=stderr)
        until(lambda: "master.port_in_use" in log.read_text(), "it says so")

        assert started.stop() == 0
    assert not cluster.data_dir.exists()


# --- what can be told at once ----------------------------------------------------------------------


def refused(cluster, *arguments, env=None):
    """Exit code and words on stderr of a `tsd up` that ends by itself."""
    config = cluster.write_config("refused")
    ended = subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", "up", "--config", str(config), *arguments],
        cwd=ROOT,
        env=env or {**os.environ, **cluster.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, [line for line in ended.stderr.splitlines() if line.startswith("tsd: ")]


def a_folder(path):
    path.mkdir()


def a_link_to_nothing(path):
    path.symlink_to("/gone/store.db")


def no_database(path):
    path.write_text("this is no database\n" * 500)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_folder, "is no file"),
        (a_link_to_nothing, "is a link to /gone/store.db, which does not exist"),
        (no_database, "the file is not a database"),
    ],
)
def test_a_store_that_cannot_be_opened_is_told_once_with_its_path(cluster, make, words):
    cluster.data_dir.mkdir()
    make(cluster.data_dir / "store.db")

    code, (line,) = refused(cluster)

    assert code == 78
    assert str(cluster.data_dir / "store.db") in line
    assert words in line


def test_a_path_that_is_too_long_for_the_store_is_told_once(cluster):
    folder = cluster.folder / ("a" * 200) / ("b" * 200) / ("c" * 100)
    folder.mkdir(parents=True)

    code, (line,) = refused(cluster, "--data-dir", str(folder))

    assert code == 78
    assert "SQLite takes at most" in line
    assert "tsd.data_dir" in line


def test_a_user_without_a_home_folder_is_told_which_setting_is_missing(cluster):
    cluster._settings["tsd"].pop("data_dir")
    environment = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    code = (
        "import os, pwd, sys\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from tsd.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    config = cluster.write_config("refused")

    ended = subprocess.run(
        [sys.executable, "-c", code, "up", "--config", str(config)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    assert "tsd.data_dir: must be set: HOME is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_too_few_open_files_are_told_once(cluster):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    config = cluster.write_config("refused")
    ended = subprocess.run(
        [sys.executable, "-m", "tsd.cli.main", "up", "--config", str(config)],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    assert "the limit of open files (ulimit -n): is 24" in ended.stderr


def test_a_log_file_in_a_new_data_folder_is_made(up, cluster):
    cluster.configure(**{"terafoundation.logging": ["console", "file"]})
    started = up()

    assert started.run_a_job() == ("completed", "")
    assert started.stop() == 0
    assert "master.ready" in (cluster.data_dir / "tsd.log").read_text()


def test_all_daemons_follow_a_log_file_that_was_renamed(up, cluster):
    cluster.configure(**{"terafoundation.logging": ["file"]})
    started = up()
    assert started.run_a_job() == ("completed", "")
    log = cluster.data_dir / "tsd.log"
    log.rename(cluster.data_dir / "tsd.log.1")
    size = (cluster.data_dir / "tsd.log.1").stat().st_size

    assert started.run_a_job() == ("completed", "")

    assert (cluster.data_dir / "tsd.log.1").stat().st_size == size
    roles = {json.loads(line)["role"] for line in log.read_text().splitlines()}
    assert {"master", "node", "controller", "worker"} <= roles
    assert started.stop() == 0


def test_a_node_does_not_join_another_cluster_while_its_master_waits_for_a_port(up, cluster, tmp_path):
    """Whoever has the port may be a master, too; it must not get the slots of this cluster."""
    first = up()
    assert first.run_a_job() == ("completed", "")
    (tmp_path / "second").mkdir()
    other = Cluster(tmp_path / "second")
    other.configure(**{"tsd.mesh_port": cluster._settings["tsd"]["mesh_port"], "tsd.node_id": "other"})
    log = other.folder / "log"
    with log.open("wb") as stderr:
        second = Up(other, stderr=stderr)
    try:
        until(lambda: "master.port_in_use" in log.read_text(), "it waits for the port")
        assert first.run_a_job() == ("completed", "")
        assert "node.joined" not in log.read_text()
        assert first.stop() == 0

        assert second.run_a_job() == ("completed", "")
        assert second.stop() == 0
    finally:
        second.end()
