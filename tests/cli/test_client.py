import http.server
import json
import socket
import threading

import pytest

from tsd.cli.client import ApiError, ApiFile, MasterClient, MasterUnreachable
from tsd.errors import TsdError


@pytest.fixture
def served():
    """A URL whose paths answer what the dict says: (status, body); requests are noted."""
    answers, requests = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length", 0))
            requests.append(
                (self.command, self.path, self.headers.get("Content-Type"), self.rfile.read(length))
            )
            status, body = answers.get(self.path, (404, '{"error": 404, "message": "cannot GET endpoint"}'))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers, requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_document_is_posted_as_json_and_the_answer_is_read(served):
    url, answers, requests = served
    answers["/v1/jobs"] = (200, '{"job_id": "j", "ex_id": "e"}')

    answer = MasterClient(url).post("/v1/jobs", {"name": "x"})

    assert answer == {"job_id": "j", "ex_id": "e"}
    ((method, path, content_type, body),) = requests
    assert (method, path, content_type, json.loads(body)) == (
        "POST",
        "/v1/jobs",
        "application/json",
        {"name": "x"},
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": 400, "message": "No job was posted"}', "No job was posted"),
        ('{"error": "asset x is not formatted correctly"}', "asset x is not formatted correctly"),
        ("<pre>Cannot GET /x</pre>", "<pre>Cannot GET /x</pre>"),
    ],
)
def test_every_shape_of_error_gives_its_words(served, body, message):
    url, answers, _ = served
    answers["/x"] = (400, body)

    with pytest.raises(ApiError, match=message) as caught:
        MasterClient(url).get("/x")

    assert caught.value.status == 400


def test_nothing_that_answers_is_an_error_of_its_own():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

        with pytest.raises(MasterUnreachable, match=url):
            MasterClient(url).get("/")
        assert not MasterClient(url).is_ready()


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (503, False), (500, False)])
def test_a_master_is_ready_when_it_says_so(served, status, is_ready):
    url, answers, _ = served
    answers["/ready"] = (status, "{}")

    assert MasterClient(url).is_ready() == is_ready


def test_a_master_without_a_ready_page_is_ready_when_it_answers(served):
    url, answers, _ = served
    assert not MasterClient(url).is_ready()

    answers["/v1/cluster/state"] = (200, "{}")

    assert MasterClient(url).is_ready()


def test_the_address_is_read_from_the_data_folder(tmp_path):
    api = ApiFile.in_folder(tmp_path)
    assert api.read_url() is None

    api.path.write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    assert api.read_url() == "http://127.0.0.1:1"

    api.path.write_text('{"url": "http')
    assert api.read_url() is None

    api.remove()
    api.remove()
    assert not api.path.exists()


def test_scheme_and_port_may_be_left_out(served):
    url, answers, _ = served
    answers["/x"] = (200, "{}")

    client = MasterClient(url.removeprefix("http://"))

    assert client.get("/x") == {}
    assert client.url == url
    assert MasterClient("master.example").url == "http://master.example"


@pytest.mark.parametrize("url", ["https://127.0.0.1:5678", "http://", "http://host:port", "ftp://host"])
def test_what_is_no_address_is_said_to_be_none(url):
    with pytest.raises(TsdError, match=f"{url} is no address such as http://127.0.0.1:5678"):
        MasterClient(url)
