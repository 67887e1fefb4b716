"""What one client, or very many, can not do to a real master."""

import contextlib
import json
import socket
import threading
import time

import httpx
import pytest

from tests.support.daemons import cluster_for, until
from tests.support.jobs import endless_job, job
from tsd.master.api.inflow import GRACE_S
from tsd.master.connections import READ_ANSWER_S
from tsd.master.http import HEADER_WITHIN_S

CONNECTIONS = 12


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    settings = {
        "tsd.max_connections": CONNECTIONS,
        "tsd.max_requests": 2,
        "tsd.operation_modules": ["tests.support.ops"],
    }
    with cluster_for(request, tmp_path_factory.mktemp("limits"), **settings) as cluster:
        cluster.start_master()
        yield cluster


@contextlib.contextmanager
def connected(cluster):
    with socket.create_connection(("127.0.0.1", httpx.URL(cluster.url).port), timeout=60) as client:
        yield client


def read_all(client):
    """Everything until the other side ends the connection."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def parsed(data):
    """(status, headers, JSON body) of an answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, json.loads(body)


def test_headers_that_are_too_large_are_refused_in_words(cluster):
    with connected(cluster) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 20_000)
        status, headers, body = parsed(read_all(client))

    assert status == 431
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert body == {"error": 431, "message": "path and headers are too large"}


def test_what_is_no_http_is_refused_in_words(cluster):
    with connected(cluster) as client:
        client.sendall(b"\0\1\2 nonsense\r\n\r\n")
        status, _, body = parsed(read_all(client))

    assert (status, body["error"]) == (400, 400)
    assert body["message"]


def test_more_clients_than_there_may_be_are_turned_away_until_some_have_left(cluster):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(cluster)) for _ in range(CONNECTIONS)]
        for client in clients:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")  # not complete, so it stays
        answer = until(lambda: turned_away(cluster), "one is turned away", 3)

    status, headers, body = answer
    assert status == 503
    assert headers["retry-after"]
    assert "too many connections" in body["message"]
    until(lambda: not turned_away(cluster), "there is room again", 10)


def turned_away(cluster):
    with connected(cluster) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        found = parsed(read_all(client))
    return found if found[0] == 503 else None


@pytest.mark.slow
def test_a_byte_a_second_holds_nothing(cluster):
    """Headers: the connection ends. Body: 408. And meanwhile neither counts as a request."""
    began = time.monotonic()
    with connected(cluster) as header, connected(cluster) as body:
        header.sendall(b"GET / HTTP/1.1\r\nHost: ")
        body.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        while time.monotonic() - began < GRACE_S + 5:
            for client in (header, body):
                with contextlib.suppress(OSError):
                    client.sendall(b"x")
            assert cluster.request("GET", "/").status_code == 200
            time.sleep(1.0)  # this is what such a client does
        header.settimeout(1)
        with contextlib.suppress(ConnectionResetError):
            assert header.recv(1000) == b""
        status, _, problem = parsed(body.recv(65536))

    assert status == 408
    assert "did not come within" in problem["message"]


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed(cluster):
    with connected(cluster) as client:
        began = time.monotonic()

        assert read_all(client) == b""
        assert time.monotonic() - began < HEADER_WITHIN_S + 10


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_client_that_does_not_read_its_answer_is_cut(cluster):
    for number in range(30):
        cluster.post("/jobs?start=false", job(name=f"large-{number}", padding="x" * 300_000))
    with connected(cluster) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /jobs?size=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(100)
        time.sleep(READ_ANSWER_S + 2)  # it does not read: that is what is tested
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(client)) < 9_000_000, "the answer was not cut"

    assert cluster.request("GET", "/").status_code == 200


@pytest.mark.slow
def test_more_requests_than_there_may_be_are_told_to_come_again(cluster):
    """Those that wait for a stop count; probes are answered all the same."""
    cluster.start_node()
    _, ex_id = cluster.post_job(endless_job(ms=3000))
    until(lambda: cluster.processes(ex_id, "worker"), "a worker runs")
    until(lambda: cluster.get(f"/ex/{ex_id}/controller")[0]["workers_active"], "a slice runs")
    answers = []

    def stop():
        answers.append(cluster.request("POST", f"/ex/{ex_id}/_stop?timeout=1m"))

    waiting = [threading.Thread(target=stop) for _ in range(2)]
    for thread in waiting:
        thread.start()
    refused = until(lambda: refusal(cluster), "a third request is refused", 5)

    assert refused.headers["retry-after"]
    assert "2 requests" in refused.json()["message"]
    assert cluster.request("GET", "/health").status_code == 200
    assert cluster.request("GET", "/ready").status_code == 200
    for thread in waiting:
        thread.join()
    assert [answer.json() for answer in answers] == [{"status": "stopped"}] * 2
    assert cluster.request("GET", "/").status_code == 200


def refusal(cluster):
    answer = cluster.request("GET", "/")
    return answer if answer.status_code == 503 else None
