"""Jobs that use bundles, on a master without a node: what is checked, stored and kept."""

import pytest

from tests.support.bundles import id_of, operations
from tests.support.daemons import until


def stored(api, *args, **kwargs):
    """Upload a bundle; its id."""
    data = operations(*args, **kwargs)
    assert api.post("/assets", content=data).status_code in {200, 201}
    return id_of(data)


def job(op, *assets):
    return {
        "name": "bundled",
        "assets": list(assets),
        "workers": 1,
        "operations": [{"_op": "test-reader"}, {"_op": op}],
    }


def stopped(api, ex_id):
    api.post(f"/ex/{ex_id}/_stop")
    until(lambda: api.get(f"/ex/{ex_id}").json()["_status"] == "stopped", "it has stopped")


def test_the_job_keeps_names_and_the_execution_has_ids(api):
    """Points 22 and 24 of bundles."""
    asset_id = stored(api, "named", "1.2.0")
    posted = job("shout@named:^1.0.0", "named:^1.0.0", "named")
    answer = api.post("/jobs", json=posted).json()
    execution = api.get(f"/ex/{answer['ex_id']}").json()

    shown = api.get(f"/jobs/{answer['job_id']}").json()
    assert {key: shown[key] for key in posted} == posted
    assert execution["assets"] == [asset_id]
    assert execution["operations"][1]["_op"] == f"shout@{asset_id}"
    stopped(api, answer["ex_id"])


def test_an_unknown_bundle_stores_no_job(api):
    """Point 26; point 21 of bundles."""
    before = len(api.get("/jobs").json())
    answer = api.post("/jobs", json=job("shout", "zz"))

    assert answer.status_code == 400
    assert 'assets[0]: No assets found for "zz"' in answer.json()["message"]
    assert len(api.get("/jobs").json()) == before


def test_each_start_takes_the_newest_and_a_recovery_of_an_execution_its_own(api):
    """Points 16 and 23 of bundles."""
    old = stored(api, "grows", "1.9.0")
    first = api.post("/jobs", json=job("shout", "grows")).json()
    new = stored(api, "grows", "1.10.0")
    stored(api, "grows", "1.2.0")

    assert api.get(f"/ex/{first['ex_id']}").json()["assets"] == [old]
    stopped(api, first["ex_id"])
    second = api.post(f"/jobs/{first['job_id']}/_start").json()
    assert api.get(f"/ex/{second['ex_id']}").json()["assets"] == [new]
    stopped(api, second["ex_id"])
    third = api.post(f"/ex/{first['ex_id']}/_recover").json()
    assert api.get(f"/ex/{third['ex_id']}").json()["assets"] == [old]
    stopped(api, third["ex_id"])
    fourth = api.post(f"/jobs/{first['job_id']}/_recover").json()
    assert api.get(f"/ex/{fourth['ex_id']}").json()["assets"] == [new]
    stopped(api, fourth["ex_id"])


def test_a_bundle_that_is_in_use_is_not_deleted_unless_forced(api):
    asset_id = stored(api, "used")
    ex_id = api.post("/jobs", json=job("shout", "used")).json()["ex_id"]
    refused = api.delete(f"/assets/{asset_id}")

    assert refused.status_code == 409
    assert ex_id in refused.json()["message"]
    assert api.get("/assets/used").json()
    assert api.delete(f"/assets/{asset_id}", params={"force": "true"}).status_code == 200
    stopped(api, ex_id)
    answer = api.post(f"/ex/{ex_id}/_recover")
    assert (answer.status_code, answer.json()["message"]) == (
        409,
        f"asset {asset_id}, which the execution uses, was deleted",
    )


def test_a_bundle_that_nothing_runs_can_be_deleted_with_what_was_unpacked(master, api):
    """Point 14 of bundles."""
    asset_id = stored(api, "unpacked")
    posted = api.post("/jobs", json=job("shout", "unpacked")).json()
    folder = master.data_dir / "assets" / asset_id
    assert (folder / "asset.json").exists()
    stopped(api, posted["ex_id"])
    api.delete(f"/jobs/{posted['job_id']}")

    assert api.delete(f"/assets/{asset_id}").status_code == 200
    assert not folder.exists()


def test_an_operation_in_two_bundles_needs_the_name_of_its_bundle(api):
    """J16; point 25 of bundles."""
    stored(api, "left")
    right = stored(api, "right")
    refused = api.post("/jobs", json=job("shout", "left", "right"))

    assert refused.status_code == 400
    assert 'Multiple assets containing the same processor name _op: "shout"' in refused.json()["message"]
    answer = api.post("/jobs", json=job("shout@right", "left", "right")).json()
    assert api.get(f"/ex/{answer['ex_id']}").json()["operations"][1]["_op"] == f"shout@{right}"
    stopped(api, answer["ex_id"])


@pytest.mark.parametrize("method", ["post", "put"])
def test_options_of_operations_in_bundles_are_checked(api, method):
    stored(api, "strict")
    posted = job("shout", "strict")
    posted["operations"][1]["mark"] = 5
    path = "/jobs"
    if method == "put":
        path += "/" + api.post("/jobs?start=false", json=job("shout", "strict")).json()["job_id"]
    answer = api.request(method, path, json=posted)

    assert answer.status_code == 400
    assert "operations[1].mark" in answer.json()["message"]


def kept(api, *assets, **fields):
    """A job that is stored and not started; its id."""
    return api.post("/jobs?start=false", json=job("noop", *assets) | fields).json()["job_id"]


@pytest.mark.parametrize("identifier", ["needed", "needed:^1.1.0", "needed:1.2.0", "id"])
def test_a_bundle_that_an_active_job_needs_is_not_deleted_unless_forced(api, identifier):
    """Point 14 of bundles."""
    older = stored(api, "needed", "1.0.0")
    asset_id = stored(api, "needed", "1.2.0")
    if identifier == "needed":
        api.delete(f"/assets/{older}")
    job_id = kept(api, asset_id if identifier == "id" else identifier, name="nightly")
    refused = api.delete(f"/assets/{asset_id}")

    assert refused.status_code == 409
    assert refused.json()["message"].startswith(
        f"asset {asset_id} is needed by job {job_id} (nightly); upload"
    )
    assert api.delete(f"/assets/{asset_id}", params={"force": "true"}).status_code == 200
    api.delete(f"/jobs/{job_id}")
    api.delete(f"/assets/{older}")


def test_a_bundle_is_not_needed_where_another_one_does_as_well_or_nobody_can_start(api):
    older, newer = stored(api, "spare", "1.0.0"), stored(api, "spare", "1.1.0")
    other = stored(api, "spare_not", "1.0.0")
    any_version = kept(api, "spare:^1.0.0")
    inactive, deleted = kept(api, "spare:1.1.0"), kept(api, "spare:1.1.0")
    api.post(f"/jobs/{inactive}/_inactive")
    api.delete(f"/jobs/{deleted}")

    assert api.delete(f"/assets/{newer}").status_code == 200
    assert any_version in api.delete(f"/assets/{older}").json()["message"]
    assert api.delete(f"/assets/{other}").status_code == 200
