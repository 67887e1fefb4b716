"""Bundles that bring libraries, on real nodes that do not have them; and what becomes of unpacked bundles."""

import importlib.util
import json

import pytest

from tests.support.bundles import bundle, id_of, operations
from tests.support.daemons import cluster_for, until
from tests.support.wheels import wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OPERATIONS = """
import attrs
import tsd_tiny_library

from tsd.operations import Fetcher, MapProcessor, OpConfig, Slicer, operation, opt, reader


class OneSlicer(Slicer):
    def slice(self):
        if getattr(self, "is_done", False):
            return None
        self.is_done = True
        return {"by": tsd_tiny_library.VERSION}


@reader("tiny_reader", slicer=OneSlicer)
class One(Fetcher):
    def fetch(self, request):
        return [{"sliced_by": request["by"], "fetched_by": tsd_tiny_library.VERSION}]


@attrs.define(kw_only=True)
class SaysConfig(OpConfig):
    file: str = opt(doc="where to write")
    until: str = opt("", doc="a file to wait for")


@operation("tiny_says", config=SaysConfig)
class Says(MapProcessor):
    def map(self, record, index, batch):
        import pathlib
        from importlib.metadata import version

        while self.config.until and not pathlib.Path(self.config.until).exists():
            self.ctx.sleep(0.02)
        record["installed"] = version("tsd-tiny-library")
        with open(self.config.file, "a") as file:
            file.write(f"{dict(record)} {tsd_tiny_library.__file__}\\\\n")
        return record
""".replace("\\\\n", "\\n")


def with_library(name, version="1.0"):
    files = {"operations/__init__.py": OPERATIONS} | wheel("tsd-tiny-library", version)
    return bundle(name, files=files, requirements=["tsd-tiny-library>=1"])


@pytest.fixture
def cluster(request, tmp_path):
    with cluster_for(request, tmp_path, workers=4, **{"tsd.keep_unused_assets": "1s"}) as cluster:
        cluster.start_master()
        yield cluster


def upload(cluster, data):
    answer = cluster.request("POST", "/assets", content=data)
    assert answer.status_code in {200, 201}, answer.text
    return id_of(data)


def job(out, *assets, **options):
    return {
        "name": "tiny",
        "lifecycle": "once",
        "workers": 1,
        "assets": list(assets),
        "operations": [{"_op": "tiny_reader"}, {"_op": "tiny_says", "file": str(out)} | options],
    }


def logged(cluster, daemon, event):
    lines = cluster.daemons[daemon].log.splitlines()
    return [json.loads(line) for line in lines if f'"{event}"' in line]


def test_a_library_that_no_node_has_is_imported_by_slicer_and_worker(cluster, tmp_path):
    """Point 37 of bundles."""
    assert importlib.util.find_spec("tsd_tiny_library") is None
    cluster.start_node("node-1", workers=1)
    cluster.start_node("node-2", workers=1)
    asset_id = upload(cluster, with_library("lib"))
    (asset,) = cluster.get("/assets/lib")
    assert asset["operations"] == ["tiny_reader", "tiny_says"]
    _, ex_id = cluster.post_job(job(tmp_path / "out", "lib"))

    assert cluster.wait_status(ex_id)["_status"] == "completed"
    record, _, place = (tmp_path / "out").read_text().strip().rpartition(" ")
    assert record == "{'sliced_by': '1.0', 'fetched_by': '1.0', 'installed': '1.0'}"
    assert place in {str(tmp_path / f"node-{i}/assets/{asset_id}/site/tsd_tiny_library.py") for i in (1, 2)}


def test_bundles_whose_libraries_conflict_do_not_run_together(cluster, tmp_path):
    upload(cluster, with_library("one", "1.0"))
    upload(cluster, with_library("two", "2.0"))
    answer = cluster.request("POST", "/jobs", json=job(tmp_path / "out", "one", "two"))

    assert answer.status_code == 400
    assert (
        "asset one:1.0.0 brings tsd-tiny-library 1.0 and asset two:1.0.0 brings tsd-tiny-library 2.0"
        in (answer.json()["message"])
    )
    assert cluster.get("/jobs") == []


def test_a_bundle_whose_library_is_missing_is_refused_by_its_name(cluster):
    answer = cluster.request(
        "POST", "/assets", content=bundle(files={"operations/__init__.py": ""}, requirements=["nowhere"])
    )

    assert answer.status_code == 422
    assert "asset.json needs nowhere, which neither the bundle brings nor tsd has" in answer.json()["message"]


def test_unpacked_bundles_go_when_nobody_uses_them_and_not_before(cluster, tmp_path):
    """Also a node beside the master's folder and the master itself let go of them."""
    cluster.start_node("node-1", workers=4)
    used = upload(cluster, with_library("used"))
    idle = upload(cluster, operations("idle"))
    go = tmp_path / "go"
    _, ex_id = cluster.post_job(job(tmp_path / "out", "used", until=str(go)))
    cluster.post_job(
        {
            "name": "idle",
            "lifecycle": "once",
            "workers": 1,
            "assets": ["idle"],
            "operations": [{"_op": "data_generator", "size": 1}, {"_op": "shout"}],
        }
    )
    folders = tmp_path / "node-1/assets"
    until(
        lambda: [line["asset_id"] for line in logged(cluster, "node-1", "asset.dropped")] == [idle],
        "idle goes",
    )

    assert (folders / used / "site").is_dir()
    until(lambda: not (cluster.data_dir / "assets" / used).exists(), "the master does not run it")
    go.write_text("")
    assert cluster.wait_status(ex_id)["_status"] == "completed"
    until(lambda: not (folders / used).exists(), "used goes, too")
    (tmp_path / "out").unlink()
    _, ex_id = cluster.post_job(job(tmp_path / "out", "used"))
    assert cluster.wait_status(ex_id)["_status"] == "completed"
    assert (tmp_path / "out").exists()
