"""Uploads to a real `tsd up`: they go to the disk and not into memory."""

import os

import httpx
import pytest

from tests.support.bundles import bundle, id_of
from tests.support.daemons import cluster_for

pytestmark = pytest.mark.slow

SIZE_B = 60_000_000


@pytest.fixture
def cluster(request, tmp_path):
    with cluster_for(request, tmp_path) as cluster:
        yield cluster


def peak_memory_b(pid):
    """The most memory a process has used so far."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_a_large_upload_hardly_takes_memory(cluster):
    cluster.start_up()
    pid = cluster.announced()["pid"]
    cluster.request("POST", "/assets", content=bundle("small"))
    before = peak_memory_b(pid)
    data = bundle("large", files={"data.bin": os.urandom(SIZE_B)})
    chunks = (data[start : start + 65_536] for start in range(0, len(data), 65_536))
    answer = httpx.post(f"{cluster.url}/assets", content=chunks, timeout=120)

    assert (answer.status_code, answer.json()) == (201, {"asset_id": id_of(data)})
    grown_b = peak_memory_b(pid) - before
    print(f"{SIZE_B} bytes uploaded, the master's peak grew by {grown_b} bytes")
    assert grown_b < SIZE_B / 4
    assert cluster.request("DELETE", f"/assets/{id_of(data)}").status_code == 200
    assert not (cluster.data_dir / f"bundles/{id_of(data)}.zip").exists()
