"""Framing, routes and errors, asked of a master process over HTTP."""

import http.client
import json
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.jobs import job

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/V1"])
def test_the_root_tells_what_the_cluster_is(api, path):
    """Covers 1 and 2 of rest-api.md; `tsd_version` is tsd's own."""
    answer = api.get(path)

    assert answer.status_code == 200
    assert list(answer.json()) == [
        "arch",
        "clustering_type",
        "name",
        "node_version",
        "platform",
        "teraslice_version",
        "tsd_version",
    ]
    assert answer.json()["arch"] in {"x64", "arm64"}
    assert answer.json()["clustering_type"] == "native"
    assert answer.json()["teraslice_version"].startswith("v3.")
    assert answer.text.startswith('{\n    "arch"')


@pytest.mark.parametrize(
    "path", ["/nope", "/v1/nope", "/v1/v1/jobs", "/jobs//ex", "/jobs/x/ex/y", "/txt/bogus", "/%zz"]
)
def test_an_unknown_path_is_not_found(api, path):
    """Covers 3, 5, 6 and 89 of rest-api.md; 404 where Teraslice says 405."""
    answer = api.get(f"{path}?x=1")

    assert answer.status_code == 404
    assert answer.json() == {"error": 404, "message": f"cannot GET endpoint {path}?x=1"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/jobs/x", "GET"),
        ("PUT", "/jobs", "POST"),
        ("DELETE", "/ex/x", "GET"),
        ("GET", "/jobs/x/_stop", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api, method, path, allowed):
    """Covers 4 of rest-api.md."""
    answer = api.request(method, path)

    assert answer.status_code == 405
    assert answer.json() == {"error": 405, "message": f"cannot {method} endpoint {path}"}
    assert allowed in answer.headers["allow"].split(", ")


def test_paths_are_found_in_any_case_and_with_a_slash_at_the_end(api):
    """Covers 8 of rest-api.md."""
    assert api.get("/V1/JOBS/").json() == api.get("/jobs").json()


def test_head_answers_what_get_does_without_a_body(api):
    """Covers 9 of rest-api.md."""
    answer = api.head("/jobs")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/v1/jobs", "/txt/jobs", "/docs"])
def test_what_a_client_has_already_is_not_sent_again(api, path):
    """Covers ETag and 304 of 1.4 of rest-api.md, next to 9."""
    first = api.get(path)
    again = api.get(path, headers={"if-none-match": first.headers["etag"]})

    assert first.headers["etag"].startswith('W/"')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"] == api.head(path).headers["etag"]
    assert api.get(path, headers={"if-none-match": 'W/"other"'}).content == first.content
    assert "etag" not in api.get("/jobs/unknown").headers


@pytest.mark.parametrize("path", ["/", "/jobs", "/ex", "/cluster/state", "/nope", "/jobs/unknown"])
def test_every_answer_is_json_in_utf8(api, path):
    """Covers 16 of rest-api.md."""
    assert api.get(path).headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("body", ["{bad", '"x"', "1", "null", "[1,", '{"a": NaN}'])
def test_malformed_json_is_refused_whatever_the_route_needs(api, body):
    """Covers 10 and 11 of rest-api.md."""
    for path in ("/jobs", "/jobs/unknown/_stop"):
        answer = api.post(path, content=body, headers=JSON)

        assert answer.status_code == 400
        assert answer.json() == {"error": 400, "message": "the json submitted is malformed"}


def test_a_form_is_read_as_json(api):
    """Covers 12 of rest-api.md: curl -d@job.json."""
    form = {"content-type": "application/x-www-form-urlencoded"}

    answer = api.post("/v1/jobs", content=json.dumps(job(), indent=2), headers=form)

    assert answer.status_code == 200
    assert set(answer.json()) == {"job_id", "ex_id"}


@pytest.mark.parametrize("body", ["{}", "", "[]", '{"operations": null}'])
def test_a_body_without_operations_is_no_job(api, body):
    """Covers 13, 14 and 15 of rest-api.md."""
    answer = api.post("/jobs", content=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json() == {"error": 400, "message": "No job was posted"}


def test_another_content_type_is_refused_and_the_wanted_one_named(api):
    answer = api.post("/jobs", content=json.dumps(job()), headers={"content-type": "text/plain"})

    assert answer.status_code == 415
    assert "application/json" in answer.json()["message"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_too_large_and_changes_nothing(master, api, is_chunked):
    before = api.get("/jobs?size=0").json(), len(master.rows("SELECT job_id FROM jobs"))
    body = json.dumps(job(padding="x" * 3_000_000)).encode()
    content = iter([body[i : i + 65536] for i in range(0, len(body), 65536)]) if is_chunked else body

    answer = api.post("/jobs", content=content, headers=JSON)

    assert answer.status_code == 413
    assert answer.json()["error"] == 413
    assert "204800 bytes" in answer.json()["message"]
    assert before == (api.get("/jobs?size=0").json(), len(master.rows("SELECT job_id FROM jobs")))


def test_an_unknown_job_is_a_problem_with_a_number_and_a_text(api):
    """Covers 17 of rest-api.md."""
    answer = api.get("/jobs/unknown")

    assert answer.status_code == 404
    assert answer.json()["error"] == 404
    assert "unknown" in answer.json()["message"]


def test_answers_carry_the_id_of_their_request(api):
    assert api.get("/", headers={"x-request-id": "my-id"}).headers["x-request-id"] == "my-id"
    made = {api.get("/", headers={"x-request-id": bad}).headers["x-request-id"] for bad in ("a b", "x" * 100)}
    assert len(made) == 2
    assert all(len(request_id) == 16 for request_id in made)


def test_pages_of_other_sites_can_not_run_jobs(master, api):
    """A browser sends forms anywhere without asking, and a job is code."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    port = api.base_url.port

    for origin, host in [
        ("http://evil.example", f"127.0.0.1:{port}"),
        (f"http://rebound.example:{port}", f"rebound.example:{port}"),
        ("null", f"127.0.0.1:{port}"),
    ]:
        headers = {**form, "origin": origin, "host": host}
        answer = api.post("/jobs?start=false", content=json.dumps(job()), headers=headers)
        assert answer.status_code == 400, origin

    own = {**JSON, "origin": f"http://127.0.0.1:{port}"}
    assert api.post("/jobs?start=false", content=json.dumps(job()), headers=own).status_code == 200


def test_half_a_request_and_no_http_at_all_hurt_nobody(master, api):
    for words in (
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
        b"\0\1\2\r\n\r\n",
        b"GET",
    ):
        with socket.create_connection(("127.0.0.1", api.base_url.port), timeout=5) as client:
            client.sendall(words)

    assert api.get("/health").json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs", 200),
        ("POST", "/nope", 404),
        ("PATCH", "/jobs", 405),
        ("POST", "/jobs", 415),
        ("POST", "/ex/x/_pause", 404),
    ],
)
def test_a_connection_goes_on_after_a_body_that_nobody_wanted(api, method, path, status):
    """One client keeps one connection: a second answer comes over it."""
    for _ in range(2):
        answer = api.request(
            method, path, content=b"x" * 100_000, headers={"content-type": "text/plain"}, timeout=5
        )
        assert answer.status_code == status


def test_a_body_shorter_than_announced_does_not_store_half_a_job(master, api):
    before = len(master.rows("SELECT job_id FROM jobs"))
    connection = http.client.HTTPConnection("127.0.0.1", api.base_url.port, timeout=10)
    body = json.dumps(job()).encode()
    connection.putrequest("POST", "/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body) + 10))
    connection.endheaders()
    connection.send(body)
    connection.close()

    assert api.get("/health").status_code == 200
    assert len(master.rows("SELECT job_id FROM jobs")) == before


def test_a_ready_master_says_so_also_without_a_node(api):
    """It takes jobs; that they wait is said beside, and is no reason to send clients away."""
    answer = api.get("/ready")
    document = answer.json()

    assert answer.status_code == 200
    assert (document["status"], document["reasons"]) == ("ready", [])
    assert list(document["checks"]) == ["store", "mesh", "capacity"]
    assert document["checks"]["store"]["ok"] is True
    assert document["checks"]["store"]["since"].endswith("Z")
    assert document["checks"]["mesh"] == {"ok": True}
    assert document["checks"]["capacity"] == {
        "ok": False,
        "reason": "no node is connected: jobs are stored and wait",
        "nodes": 0,
        "nodes_drained": 0,
        "slots": 0,
        "slots_free": 0,
    }


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/V1/Metrics/"])
def test_metrics_are_text_for_prometheus(api, path):
    """Covers 7 of rest-api.md, which has them on a port of their own."""
    answer = api.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["tsd_store_up"].samples[0].value == 1
    assert families["tsd_store_up"].samples[0].labels == {"name": "teracluster", "url": ""}
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


def test_requests_are_counted_by_route_and_status(api):
    for _ in range(3):
        api.get("/jobs/no-such-job")
        api.get("/no/such/path")
    families = {family.name: family for family in text_string_to_metric_families(api.get("/metrics").text)}
    counts = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["tsd_http_requests"].samples
        if sample.labels["method"] == "GET"
    }

    assert counts["/jobs/<job_id>", "404"] >= 3
    assert counts["other", "404"] >= 3
    assert not [route for route, _ in counts if "such" in route]
    assert families["tsd_http_requests_in_flight"].samples[0].value >= 1


def test_tables_are_text_with_the_columns_that_clients_know(api):
    """Covers 101 and 103 of rest-api.md, without assets; and that `/v1/txt` works too."""
    columns = {
        "workers": "assignment job_id ex_id node_id pid",
        "nodes": "node_id state hostname total active pid teraslice_version node_version",
        "jobs": "job_id name active lifecycle slicers workers _created _updated",
        "ex": "name lifecycle slicers workers _status ex_id job_id _created _updated",
        "controllers": "name job_id workers_available workers_active failed queued processed",
        "slicers": "name job_id workers_available workers_active failed queued processed",
    }

    for name, words in columns.items():
        answer = api.get(f"/txt/{name}")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.split("\n")[0].split() == words.split()
        assert api.get(f"/v1/txt/{name}").status_code == 200


def test_a_table_shows_the_fields_that_are_asked_for(api):
    """Covers 102, 105 and 108 of rest-api.md."""
    assert api.get("/txt/nodes?fields=node_id,active&headers=false").text == "master  2\n"
    assert api.get("/txt/jobs?deleted=true").text.split("\n")[0].split()[-1] == "_deleted_on"
    assert api.get("/txt/jobs?deleted=x").status_code == 400


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/jobs", "GET, HEAD, POST"), ("/jobs/x", "DELETE, GET, HEAD, PUT"), ("/ex/x/_stop", "POST")],
)
def test_options_lists_what_a_path_knows(api, path, methods):
    """Covers OPTIONS of 1.2 of rest-api.md, next to 4."""
    answer = api.options(path)

    assert (answer.status_code, answer.text, answer.headers["allow"]) == (200, methods, methods)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
