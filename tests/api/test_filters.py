"""`filter` of every list, asked of a master process without a node."""

import pytest

from tests.support.jobs import job


@pytest.fixture(scope="module")
def stored(api):
    """Three jobs, the last one started: (job ids, ex_id)."""
    posted = [
        job(name="Nightly import", workers=1),
        job(name="nightly report", workers=2, lifecycle="persistent"),
        job(name="other", workers=3, lifecycle="once"),
    ]
    ids = [api.post("/jobs?start=false", json=one).json()["job_id"] for one in posted]
    started = api.post(f"/jobs/{ids[2]}/_start").json()
    return ids, started["ex_id"]


def found(api, path, text):
    answer = api.get(path, params={"filter": text})
    assert answer.status_code == 200, answer.text
    return answer.json()


def jobs_found(api, ids, text):
    """Which of the jobs are found, by their place."""
    listed = {one["job_id"] for one in found(api, "/jobs", text)}
    return [place for place, job_id in enumerate(ids) if job_id in listed]


def test_a_job_is_found_by_its_id(api, stored):
    """Covers 40 of rest-api.md."""
    ids, _ = stored

    assert [one["job_id"] for one in found(api, "/jobs", f"job_id:{ids[0]}")] == [ids[0]]
    assert [one["job_id"] for one in found(api, "/jobs", f'job_id:"{ids[0]}"')] == [ids[0]]
    assert [one["job_id"] for one in found(api, "/jobs", ids[0])] == [ids[0]]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("workers:>=2 AND lifecycle:once", [2]),
        ("workers:[1 TO 3}", [0, 1]),
        ("name:NIGHTLY", [0, 1]),
        ('name:"nightly import"', [0]),
        ("name:night* -name:report", [0]),
        ("name:(import OR report)", [0, 1]),
        ("+name:nightly workers:3", [0, 1]),
        ("NOT name:nightly", [2]),
        ("_created:>now-1h !name:nightly", [2]),
        ("_created:<now-1h", []),
        ("_exists_:active", []),
    ],
)
def test_jobs_are_found_by_ranges_words_and_their_combinations(api, stored, text, places):
    """Covers 41 of rest-api.md."""
    assert jobs_found(api, stored[0], text) == places


def test_a_filter_narrows_what_other_parameters_leave(api, stored):
    ids, _ = stored
    answer = api.get("/jobs", params={"filter": "name:nightly", "active": "false"})

    assert answer.json() == []
    assert api.get("/jobs", params={"filter": "name:nightly", "deleted": "true"}).json() == []
    assert [
        one["job_id"] for one in api.get("/jobs?filter=name:nightly&sort=workers&size=1&from=1").json()
    ] == [ids[1]]


def test_executions_are_found_by_a_filter(api, stored):
    ids, ex_id = stored

    assert [one["ex_id"] for one in found(api, "/ex", f"_status:pending AND job_id:{ids[2]}")] == [ex_id]
    assert found(api, "/ex", f"_status:running AND job_id:{ids[2]}") == []


def test_tables_are_filtered_and_know_no_status(api, stored):
    """Covers 106 of rest-api.md."""
    ids, ex_id = stored

    assert ex_id in api.get("/txt/ex", params={"filter": "_status:pending"}).text
    assert ex_id not in api.get("/txt/ex", params={"filter": "_status:running"}).text
    assert ex_id in api.get("/txt/ex?status=running").text
    table = api.get("/txt/jobs", params={"filter": "name:nightly"}).text
    assert ids[0] in table
    assert ids[2] not in table


def test_errors_take_filters_over_their_own_fields(api, stored):
    ids, ex_id = stored
    for path in ("/ex/errors", f"/ex/{ex_id}/errors", f"/jobs/{ids[2]}/errors"):
        assert found(api, path, "slicer_order:>=0 AND error:*timeout*") == []

        answer = api.get(path, params={"filter": "name:x"})
        assert answer.status_code == 400
        assert "Fields to filter by: _created, _updated, error, ex_id, slice_id" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/jobs", "/ex", "/ex/errors", "/txt/jobs", "/txt/ex"])
@pytest.mark.parametrize(
    ("text", "at"), [("(", 2), ("job_id:* ) OR (_deleted:true", 10), ("nothing:1", 1), ("x" * 4001, 4001)]
)
def test_what_is_no_filter_is_refused_with_the_place(api, path, text, at):
    """Covers 42 of rest-api.md."""
    answer = api.get(path, params={"filter": text})

    assert answer.status_code == 400
    assert f"at character {at}: " in answer.json()["message"]
