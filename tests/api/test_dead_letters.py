"""Dead letters over the API: lists, filters, deleting, replaying, and two who replay at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.daemons import cluster_for, until

EVEN = [0, 2, 4, 6, 8, 10]


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """A master and one node, with operations that reject records."""
    settings = {"tsd.operation_modules": ["tests.support.letter_ops"]}
    with cluster_for(request, tmp_path_factory.mktemp("letters"), workers=6, **settings) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster


@pytest.fixture(scope="module")
def api(cluster):
    return cluster.client()


def picky_job(*, every=2, **changes):
    picky = {"_op": "picky", "every": every, "_dead_letter_action": "store"}
    return {
        "name": "picky",
        "workers": 1,
        "operations": [{"_op": "batches", "size": 3, "per": 4}, picky],
        **changes,
    }


@pytest.fixture
def rejected(cluster):
    """A job that has run and rejected the even numbers up to 10: (job_id, ex_id)."""
    job_id, ex_id = cluster.post_job(picky_job())
    cluster.wait_status(ex_id, "completed")
    return job_id, ex_id


def numbers(api, path, **params):
    answer = api.get(path, params={"sort": "slicer_order,time", **params})
    assert answer.status_code == 200, answer.text
    return sorted(letter["record"]["number"] for letter in answer.json())


def test_letters_are_listed_for_an_execution_a_job_and_all(api, rejected):
    job_id, ex_id = rejected

    assert numbers(api, f"/v1/ex/{ex_id}/dead_letters") == EVEN
    assert numbers(api, f"/v1/jobs/{job_id}/dead_letters") == EVEN
    assert numbers(api, "/v1/dead_letters", filter=f"ex_id:{ex_id}") == EVEN
    assert numbers(api, "/dead_letters", filter=f"job_id:{job_id} AND slicer_order:2") == [4, 6]
    assert numbers(api, f"/ex/{ex_id}/dead_letters", filter='error:"like 4"') == [4]
    assert numbers(api, f"/ex/{ex_id}/dead_letters", filter="operation:other") == []
    assert len(api.get(f"/ex/{ex_id}/dead_letters?size=2&from=3").json()) == 2
    assert len(api.get(f"/ex/{ex_id}/dead_letters?size=4&from=3").json()) == 3
    times = [letter["time"] for letter in api.get(f"/ex/{ex_id}/dead_letters").json()]
    assert times == sorted(times, reverse=True)


def test_letters_of_what_there_is_not(api):
    assert api.get("/ex/none/dead_letters").json() == []
    assert api.get("/jobs/none/dead_letters").status_code == 404
    for path in ("/ex/none", "/jobs/none"):
        assert api.delete(f"{path}/dead_letters").status_code == 404
        assert api.post(f"{path}/dead_letters/_replay").status_code == 404


@pytest.mark.parametrize("query", ["filter=record:1", "sort=error", "size=-1", "filter=(", "again=maybe"])
def test_what_can_not_be_asked_is_refused(api, rejected, query):
    path = f"/ex/{rejected[1]}/dead_letters"
    is_of_replay = query.startswith("again")

    answer = api.post(f"{path}/_replay?{query}") if is_of_replay else api.get(f"{path}?{query}")

    assert answer.status_code == 400


def test_a_table_shows_the_last_line_of_each_error(api, rejected):
    text = api.get("/txt/dead_letters", params={"filter": f"ex_id:{rejected[1]}"}).text

    assert text.splitlines()[0].split() == [
        "time",
        "job_id",
        "ex_id",
        "slice_id",
        "position",
        "operation",
        "replayed",
        "error",
    ]
    assert text.count("ValueError: do not like") == len(EVEN)


def test_letters_are_deleted_by_a_filter_or_all(api, rejected):
    job_id, ex_id = rejected

    assert api.delete(f"/ex/{ex_id}/dead_letters?filter=slicer_order:1").json() == {"deleted": 2}
    assert numbers(api, f"/ex/{ex_id}/dead_letters") == [4, 6, 8, 10]
    assert api.delete(f"/jobs/{job_id}/dead_letters").json() == {"deleted": 4}
    assert api.delete(f"/jobs/{job_id}/dead_letters").json() == {"deleted": 0}
    assert api.post(f"/jobs/{job_id}/dead_letters/_replay").status_code == 404


def test_a_replay_takes_what_a_filter_means_and_each_letter_once(cluster, api, rejected):
    job_id, ex_id = rejected
    path = f"/jobs/{job_id}/dead_letters"
    assert api.put(f"/jobs/{job_id}", json=picky_job(every=0)).status_code == 200

    first = api.post(f"{path}/_replay?filter=slicer_order:1").json()
    second = api.post(f"{path}/_replay").json()

    assert (first["letters"], second["letters"]) == (2, 4)
    assert second["skipped"] == {"truncated": 0, "replayed": 2, "left": 0}
    assert numbers(api, path, filter=f"replayed:{second['ex_id']}") == [4, 6, 8, 10]
    assert api.post(f"/ex/{ex_id}/dead_letters/_replay").status_code == 404
    third = api.post(f"/ex/{ex_id}/dead_letters/_replay?again=true").json()
    assert third["letters"] == 6
    for answer in (first, second, third):
        execution = cluster.wait_status(answer["ex_id"], "completed")
        assert execution["job_id"] == answer["job_id"] != job_id
        assert execution["operations"][0]["_op"] == "dead_letter_reader"
        assert {record["state"] for record in cluster.records(answer["ex_id"])} == {"completed"}


def test_two_who_replay_at_once_never_take_one_letter_twice(cluster, api, rejected):
    job_id, _ = rejected
    api.put(f"/jobs/{job_id}", json=picky_job(every=0))

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: api.post(f"/jobs/{job_id}/dead_letters/_replay"), range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    made = next(answer.json() for answer in answers if answer.status_code == 200)
    assert made["letters"] == len(EVEN)
    cluster.wait_status(made["ex_id"], "completed")


def test_a_job_whose_operation_is_another_one_now_is_not_replayed(api, rejected):
    job_id, _ = rejected
    other = picky_job()
    other["operations"].insert(1, {"_op": "twice"})
    api.put(f"/jobs/{job_id}", json=other)

    answer = api.post(f"/jobs/{job_id}/dead_letters/_replay")

    assert answer.status_code == 409
    assert (
        "picky rejected at operations[1] can not be replayed: there is twice now" in answer.json()["message"]
    )
    assert numbers(api, f"/jobs/{job_id}/dead_letters", filter="NOT _exists_:replayed") == EVEN


def test_letters_stay_with_a_deleted_job_and_can_not_be_replayed(api, rejected):
    job_id, _ = rejected
    api.delete(f"/jobs/{job_id}")

    assert numbers(api, f"/jobs/{job_id}/dead_letters") == EVEN
    assert api.post(f"/jobs/{job_id}/dead_letters/_replay").status_code == 410


def test_analytics_of_a_replay_say_which_operations_were_left_out(cluster, api):
    job = picky_job()
    job["operations"].insert(1, {"_op": "twice"})
    job_id, ex_id = cluster.post_job(job)
    cluster.wait_status(ex_id, "completed")

    made = api.post(f"/jobs/{job_id}/dead_letters/_replay").json()
    cluster.wait_status(made["ex_id"], "completed")

    ((text,),) = cluster.rows(
        "SELECT analytics FROM slices JOIN executions USING (ex_no) WHERE ex_id = ?", made["ex_id"]
    )
    assert b'"size":[6,-1,0]' in text


def test_a_replay_that_is_started_again_has_nothing_to_do(cluster, api, rejected):
    """Its slices are of its first execution."""
    made = api.post(f"/jobs/{rejected[0]}/dead_letters/_replay").json()
    cluster.wait_status(made["ex_id"], "completed")

    again = until(lambda: api.post(f"/jobs/{made['job_id']}/_start").json(), "it starts")

    cluster.wait_status(again["ex_id"], "completed")
    assert cluster.records(again["ex_id"]) == []


def file_job(path, out, form, **options):
    reader = {
        "_op": "file_reader",
        "path": str(path),
        "format": form,
        "_dead_letter_action": "store",
        **options,
    }
    exporter = {"_op": "file_exporter", "path": str(out), "format": "ldjson", "durable": False}
    return {"name": "files", "workers": 1, "operations": [reader, exporter]}


def lines_of(folder):
    texts = [path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix == ".ldjson"]
    return sorted(line for text in texts for line in text.splitlines())


@pytest.mark.parametrize(
    ("form", "data"),
    [("ldjson", b'{"a":1}\n{"a":2,}\n'), ("csv", b"a,b\n1,2\n3,x\ry\n"), ("json", b'[{"a":1},5]')],
)
def test_what_a_reader_rejected_is_read_again_and_never_becomes_an_empty_record(
    cluster, api, tmp_path, form, data
):
    (tmp_path / "in").write_bytes(data)
    job_id, ex_id = cluster.post_job(file_job(tmp_path / "in", tmp_path / "out", form))
    cluster.wait_status(ex_id, "completed")
    (letter,) = api.get(f"/ex/{ex_id}/dead_letters").json()
    before = lines_of(tmp_path / "out")
    assert (letter["form"], letter["metadata"]["path"]) == ("text", str(tmp_path / "in"))
    assert letter["metadata"]["line"] == data.count(b"\n", 0, letter["metadata"]["byte_offset"]) + 1

    made = api.post(f"/jobs/{job_id}/dead_letters/_replay").json()
    cluster.wait_status(made["ex_id"], "completed")

    assert lines_of(tmp_path / "out") == before
    (again,) = api.get(f"/ex/{made['ex_id']}/dead_letters").json()
    assert (again["record"], again["operation"]) == (letter["record"], "dead_letter_reader")


def test_what_a_mended_job_reads_comes_home(cluster, api, tmp_path):
    (tmp_path / "in").write_text('a,b\n1,2\n3,"4\n')
    job = file_job(tmp_path / "in", tmp_path / "out", "csv")
    job_id, ex_id = cluster.post_job(job)
    cluster.wait_status(ex_id, "completed")
    job["operations"][0]["extra_args"] = {"quote": "off"}
    assert api.put(f"/jobs/{job_id}", json=job).status_code == 200

    made = api.post(f"/ex/{ex_id}/dead_letters/_replay").json()
    cluster.wait_status(made["ex_id"], "completed")

    assert lines_of(tmp_path / "out") == ['{"a":"1","b":"2"}', '{"a":"3","b":"\\"4"}']
    assert api.get(f"/ex/{made['ex_id']}/dead_letters").json() == []


def test_what_no_reader_can_read_again_is_refused_and_not_marked(cluster, api, tmp_path):
    (tmp_path / "in").write_text('{"a":2,}\n')
    job = file_job(tmp_path / "in", tmp_path / "out", "ldjson")
    job_id, ex_id = cluster.post_job(job)
    cluster.wait_status(ex_id, "completed")
    job["operations"][0] = {"_op": "batches", "size": 1, "per": 1}
    assert api.put(f"/jobs/{job_id}", json=job).status_code == 200

    answer = api.post(f"/jobs/{job_id}/dead_letters/_replay")

    assert answer.status_code == 409
    assert "it is no record" in answer.json()["message"]
    assert "replayed" not in api.get(f"/ex/{ex_id}/dead_letters").json()[0]
