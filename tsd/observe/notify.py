"""Word to systemd about how the daemon is: sd_notify(3) by hand, one datagram each.

Without NOTIFY_SOCKET, as outside of systemd, everything here does nothing.
"""

import os
import socket
import time
from collections.abc import MutableMapping

import attrs


@attrs.frozen(kw_only=True)
class Notifier:
    """Sends notices to the service manager; a notice that can not be sent is dropped.

    Attributes:
        address: Path of the manager's datagram socket, `@name` for an abstract one; None: no manager.
        watchdog_s: The manager wants to hear `watchdog` at least this often; None: it does not.
    """

    address: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> "Notifier":
        """The notifier for this process; its variables are removed so that children do not notify too."""
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", None)
        period_us = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = address is not None and period_us.isdigit() and meant_for == str(os.getpid())
        return cls(address=address or None, watchdog_s=int(period_us) / 1e6 if is_watched else None)

    def ready(self, status: str = "") -> bool:
        """Start-up is complete (also after a reload)."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(_status(text))

    def watchdog(self) -> bool:
        """The main loop turns; to be called at least twice per `watchdog_s`."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1", _status(status))

    def reloading(self) -> bool:
        """The settings are being read again; `ready` ends it."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def extend_timeout(self, seconds: float) -> bool:
        """Start-up or shutdown needs so much longer from now on."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _send(self, *lines: str) -> bool:
        """Whether the manager's socket took the datagram."""
        if self.address is None:
            return False
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            with socket.socket(socket.AF_UNIX, flags) as sender:
                sender.sendto("\n".join(line for line in lines if line).encode(), address)
        except OSError:  # a notice is a courtesy: a manager that is away must not end the daemon
            return False
        return True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.splitlines())}" if text else ""
