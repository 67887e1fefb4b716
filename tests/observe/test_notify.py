import os
import socket

import pytest

from tsd.observe.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def test_readiness_arrives_as_one_datagram_with_its_status(manager):
    environ = {"NOTIFY_SOCKET": manager.getsockname()}

    assert Notifier.from_environment(environ).ready("2 nodes,\n3 jobs")

    assert manager.recv(4096) == b"READY=1\nSTATUS=2 nodes, 3 jobs"


@pytest.mark.parametrize(
    ("send", "datagram"),
    [
        (lambda n: n.status("draining"), b"STATUS=draining"),
        (lambda n: n.watchdog(), b"WATCHDOG=1"),
        (lambda n: n.stopping(), b"STOPPING=1"),
        (lambda n: n.extend_timeout(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
    ],
)
def test_each_notice_has_the_form_that_systemd_reads(manager, send, datagram):
    assert send(Notifier(address=manager.getsockname()))

    assert datagram == manager.recv(4096)


def test_a_reload_says_when_it_began(manager):
    assert Notifier(address=manager.getsockname()).reloading()

    first, second = manager.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")


def test_an_abstract_socket_is_reached(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"tsd-test-{os.getpid()}"
        receiver.bind("\0" + name)
        receiver.settimeout(5)

        assert Notifier(address="@" + name).watchdog()

        assert receiver.recv(4096) == b"WATCHDOG=1"


def test_without_a_manager_nothing_is_sent():
    notifier = Notifier.from_environment({})

    assert notifier.watchdog_s is None
    assert not notifier.ready()


def test_a_manager_that_is_gone_does_not_hurt(tmp_path):
    assert not Notifier(address=str(tmp_path / "nobody")).ready()


def test_children_do_not_inherit_the_manager(manager):
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000", "PATH": "/bin"}

    notifier = Notifier.from_environment(environ)

    assert notifier.watchdog_s == 30.0
    assert environ == {"PATH": "/bin"}


def test_a_watchdog_of_another_process_is_not_ours(manager):
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}

    assert Notifier.from_environment(environ).watchdog_s is None
