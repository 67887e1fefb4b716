"""Real hosts with systemd, each a container above an overlay of this machine, on a wire of their own.

A lab has its own mount and network namespaces. The kernel takes both away with the process that made them, and
its end powers the hosts off, so nothing runs on however a test run ends. Empty folders that a killed one has left
are removed by the next.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.daemons import until

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNS, CLONE_NEWNET = 0x0002_0000, 0x4000_0000
BRIDGE = "br0"
NETWORK = ipaddress.ip_network("10.213.7.0/24")
BOOT_WITHIN_S = 60.0
CGROUPS = [
    path
    for path in map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
    if (path / "cgroup.procs").exists()
]
IDLE_UNITS = [  # of this machine; they would only take time in each container
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "man-db.timer", "postgresql.service", "redis-server.service", "systemd-timesyncd.service",
]  # fmt: skip
PASSED_ON = ("PIP_", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "http", "HTTP", "no_proxy", "NO_PROXY")

_PREFIX = "tsd-hosts-"

_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why containers can not start here; None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "real hosts need root, to start containers"
    for program in ("systemd-nspawn", "nsenter", "setpriv", "ip", "systemctl", "journalctl"):
        if shutil.which(program) is None:
            return f"real hosts need {program} (apt-get install systemd-container dbus iproute2)"
    if not CGROUPS or not os.access(CGROUPS[0], os.W_OK):
        return "real hosts need a cgroup file system that can be written"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        probe = (
            f"mount -t tmpfs tmpfs {folder} && cd {folder} && mkdir up work root &&"
            " mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root && ip link add br0 type bridge"
        )
        tried = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", probe], capture_output=True, text=True, check=False
        )
    if tried.returncode:
        return f"real hosts need overlays and bridges: {tried.stderr.strip()}"
    return None


def call(*command: object, **options: Any) -> str:
    """Run a command; what it wrote. A failure shows all of it."""
    options = {"timeout": 120, **options}
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


class Lab:
    """A template with tsd installed, and hosts made of it.

    Use it in a `with`; meanwhile the calling thread lives in the network and the mounts of the lab, so plain HTTP
    reaches the hosts.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.hosts: dict[str, Host] = {}
        self._outside: list[int] = []

    def __enter__(self) -> Self:
        _sweep()
        self._outside = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net")]
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir="/tmp"))
        try:
            _check(_libc.unshare(CLONE_NEWNS))
            call("mount", "--make-rprivate", "/")
            call("mount", "-t", "tmpfs", "tmpfs", self.folder)
            _check(_libc.unshare(CLONE_NEWNET))
            call("ip", "link", "set", "lo", "up")
            call("ip", "link", "add", BRIDGE, "type", "bridge")
            call("ip", "addr", "add", f"{NETWORK[254]}/{NETWORK.prefixlen}", "dev", BRIDGE)
            call("ip", "link", "set", BRIDGE, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.end()
        for namespace in self._outside:
            _check(_libc.setns(namespace, 0))
            os.close(namespace)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Inside of this, what is started has the network of the machine."""
        with open("/proc/thread-self/ns/net", "rb") as inside:
            _check(_libc.setns(self._outside[1], CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(inside.fileno(), CLONE_NEWNET))

    def make_template(self, source: Path = ROOT) -> None:
        """Install tsd from `source` as an operator does, in the folder that all hosts are laid over."""
        root = self._overlay("template", "/")
        with self.outside():
            call(
                "systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "--pipe", "--as-pid2",
                f"--bind-ro={source}:/mnt/tsd", *self._pip_cache(), *(f"--setenv={each}" for each in _pip_environment()),
                "make", "-C", "/mnt/tsd", "install", timeout=400,
            )  # fmt: skip
        (root / "var/log/journal").mkdir(exist_ok=True)
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/resolv.conf").touch()
        call("systemctl", "--root", root, "mask", *IDLE_UNITS)
        call("systemctl", "--root", root, "enable", "systemd-networkd", "systemd-networkd-wait-online")

    @property
    def template(self) -> Path:
        return self.folder / "template/root"

    def add(self, name: str, **more: str) -> "Host":
        """Make a host, which is not booted yet. `more` are files to write, `etc__x="text"` for /etc/x."""
        root = self._overlay(name, f"{self.folder}/template/up:/")
        host = Host(self, name, str(NETWORK[len(self.hosts) + 1]), root)
        self.hosts[name] = host
        host.write("/etc/hostname", f"{name}\n")
        host.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        host.write(
            "/etc/systemd/network/10-host0.network",
            f"[Match]\nName=host0\n[Network]\nAddress={host.address}/{NETWORK.prefixlen}\nLinkLocalAddressing=no\n"
            "IPv6AcceptRA=no\nLLDP=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n",
        )
        for path, text in more.items():
            host.write("/" + path.replace("__", "/"), text)
        return host

    def introduce(self) -> None:
        """Let all hosts know each other by name."""
        lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in self.hosts.values())]
        for host in self.hosts.values():
            host.write("/etc/hosts", "\n".join(lines) + "\n")

    def _overlay(self, name: str, lower: str) -> Path:
        folder = self.folder / name
        for part in ("up", "work", "root"):
            (folder / part).mkdir(parents=True)
        layers = f"lowerdir={lower},upperdir={folder}/up,workdir={folder}/work"
        call("mount", "-t", "overlay", "overlay", "-o", layers, folder / "root")
        return folder / "root"

    def _pip_cache(self) -> list[str]:
        cache = ROOT / "build/pip-cache"
        cache.mkdir(parents=True, exist_ok=True)
        return [f"--bind={cache}:/var/cache/pip"]


class Host:
    """One host: its files, its power, its cable, and commands in it."""

    def __init__(self, lab: Lab, name: str, address: str, root: Path) -> None:
        self.lab = lab
        self.name = name
        self.address = address
        self.root = root
        self.console = lab.folder / name / "console"
        self._container: subprocess.Popen[bytes] | None = None

    # --- files ----------------------------------------------------------------------------------

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    # --- power ----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on, and return at once; `wait_up` waits."""
        assert self._container is None, f"{self.name} is on"
        cgroups = [root / f"{_PREFIX}{os.getpid()}-{self.name}" for root in CGROUPS]
        for cgroup in cgroups:
            cgroup.mkdir(exist_ok=True)
        # In a cgroup of its own: two containers in one would see each other's services.
        enter = "".join(f"echo $$ >{cgroup}/cgroup.procs && " for cgroup in cgroups)
        # TERM: a container that nspawn is killed away from would live on.
        command = [
            "setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "-q", "-D", str(self.root), "-M", self.name,
            f"--hostname={self.name}", f"--network-bridge={BRIDGE}", "--register=no", "--keep-unit",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--boot", "--console=pipe",
            f"--bind-ro={ROOT}:/mnt/tsd", *self.lab._pip_cache(),
            *(f"--bind-ro={path}:{path}" for path in self.lab.folder.glob("source-*")),
        ]  # fmt: skip
        with self.console.open("ab") as console:
            self._container = subprocess.Popen(
                ["sh", "-c", f'{enter} exec "$0" "$@"', *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    @property
    def is_on(self) -> bool:
        return self._container is not None and self._container.poll() is None

    @property
    def init_pid(self) -> int:
        """Process 1 of the host, as this machine numbers it; 0 when there is none."""
        if not self.is_on:
            return 0
        assert self._container is not None
        waiting = [self._container.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) > 1 and numbers[-1] == "1":
                    return pid
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return 0

    def wait_up(self) -> str:
        """Wait until the host has booted; `running`, or `degraded` when a unit has failed."""

        def state() -> str | None:
            assert self.is_on, (
                f"{self.name} did not boot:\n{self.console.read_text(errors='replace')[-3000:]}"
            )
            if not self.init_pid:
                return None
            found = self.run("systemctl", "is-system-running", check=False).strip()
            return found if found in {"running", "degraded"} else None

        return until(state, f"{self.name} has booted", BOOT_WITHIN_S)

    def cut_power(self) -> None:
        """Everything on the host is gone at once, without a word to anybody; its disk stays."""
        self.cut_link()  # else the kernel would end the connections for it
        os.kill(self.init_pid, signal.SIGKILL)
        self._wait_off(20)

    def shut_down(self, how: str = "poweroff") -> None:
        """`systemctl poweroff`, until the host is off."""
        self.run("systemctl", "--no-block", how, check=False)
        self._wait_off(120)

    def reboot(self) -> None:
        """`systemctl reboot`; returns when the host is off and has been powered on again."""
        self.shut_down()
        self.boot()

    def end(self) -> None:
        if self._container is not None:
            if pid := self.init_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._container.kill()
            self._wait_off(20)
        for root in CGROUPS:
            _remove_folders(root / f"{_PREFIX}{os.getpid()}-{self.name}")

    def _wait_off(self, within_s: float) -> None:
        assert self._container is not None
        self._container.wait(within_s)
        self._container = None
        # The kernel takes the network of a host away a little later than its processes.
        until(lambda: f"{self.link}@" not in call("ip", "link"), f"the cable of {self.name} is gone")

    # --- cable ----------------------------------------------------------------------------------

    @property
    def link(self) -> str:
        """Its end of the cable outside of the host."""
        return f"vb-{self.name}"

    def cut_link(self) -> None:
        call("ip", "link", "set", self.link, "down")

    def heal_link(self) -> None:
        call("ip", "link", "set", self.link, "up")

    @contextlib.contextmanager
    def slow_link(self, *, delay_ms: float, loss: float, seed: int) -> Iterator[None]:
        """Meanwhile its cable is a wire that is slow and loses frames, in both directions."""
        near, far = f"rn-{self.name}", f"rf-{self.name}"
        call("ip", "link", "add", near, "type", "veth", "peer", "name", far)
        try:
            for each in (near, far):
                call("ip", "link", "set", each, "up")
            call("ip", "link", "set", far, "master", BRIDGE)
            call("ip", "link", "set", self.link, "nomaster")
            options = ["--delay-ms", str(delay_ms), "--loss", str(loss), "--seed", str(seed)]
            command = [
                "setpriv",
                "--pdeathsig",
                "KILL",
                sys.executable,
                "-m",
                "tests.support.relay",
                self.link,
                near,
            ]
            with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE) as relay:
                try:
                    assert relay.stdout is not None
                    assert relay.stdout.readline() == b"relaying\n"
                    yield
                    assert relay.poll() is None, "the relay ended"
                finally:
                    relay.kill()
        finally:
            call("ip", "link", "set", self.link, "master", BRIDGE)
            call("ip", "link", "del", near)

    # --- inside ---------------------------------------------------------------------------------

    def run(self, *command: object, check: bool = True, network: bool = True, **options: Any) -> str:
        """Run a command on the host; what it wrote. Without `network` it has that of this machine."""
        enter = ["nsenter", "-t", self.init_pid, "-m", "-p", "-u", "-i", *(["-n"] if network else [])]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = ["env", "-i", path, "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"]
        extra = [] if network else _pip_environment()
        try:
            return call(*enter, *environment, *extra, *command, **options)
        except AssertionError as error:
            if check:
                raise
            return str(error).partition("\n")[2]

    def install(self, source: Path) -> str:
        """`make install` of a source folder that the host sees at the same path."""
        self.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        try:
            with self.lab.outside():
                return self.run("make", "-C", source, "install", network=False, timeout=300)
        finally:
            self.write("/etc/resolv.conf", "")

    def systemctl(self, *arguments: object, check: bool = True, **options: Any) -> str:
        return self.run("systemctl", *arguments, check=check, **options).strip()

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "-P", key, unit)

    def main_pid(self, unit: str) -> int:
        """Of a daemon, as the host numbers it; 0 when it does not run."""
        return int(self.show(unit, "MainPID"))

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        assert pid > 1
        self.run("kill", f"-{number.value}", pid)

    def processes(self) -> dict[int, tuple[str, str]]:
        """Those of the user tsd: pid to (unit, title)."""
        found = {}
        lines = self.run("ps", "-u", "tsd", "-o", "pid=,unit=,args=", check=False).splitlines()
        for line in lines:
            pid, unit, title = line.split(None, 2)
            found[int(pid)] = (unit, title)
        return found

    def failed_units(self) -> list[str]:
        return self.systemctl("list-units", "--failed", "--plain", "--no-legend", check=False).splitlines()

    def journal(self, *arguments: object) -> list[dict[str, Any]]:
        """Lines of the journal, oldest first; `log` has what a line of ours says."""
        lines = []
        text = self.run("journalctl", "-o", "json", "--no-pager", "-q", *arguments, check=False)
        for line in text.splitlines():
            entry = json.loads(line)
            message = entry.get("MESSAGE")
            if isinstance(message, str) and message.startswith("{"):
                with contextlib.suppress(ValueError):
                    entry["log"] = json.loads(message)
            lines.append(entry)
        return lines

    def logged(self, unit: str, since: float) -> list[dict[str, Any]]:
        """What the processes of a unit have logged since that moment (of `time.time`), oldest first."""
        return [line["log"] for line in self.journal("-u", unit, "--since", f"@{since:.3f}") if "log" in line]


def _pip_environment() -> Sequence[str]:
    passed = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(PASSED_ON)]
    return [*passed, "PIP_CACHE_DIR=/var/cache/pip"]


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sweep() -> None:
    """Remove the empty folders of labs whose process was killed."""
    for parent in (Path("/tmp"), *CGROUPS):
        for folder in parent.glob(f"{_PREFIX}[0-9]*-*"):
            if not Path("/proc", folder.name.removeprefix(_PREFIX).partition("-")[0]).exists():
                _remove_folders(folder)


def _remove_folders(folder: Path) -> None:
    """Remove it and those below; processes that are ending may hold one for a moment."""
    deadline = time.monotonic() + 5
    while folder.exists():
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        if time.monotonic() > deadline:
            return
