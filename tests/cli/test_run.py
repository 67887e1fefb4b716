"""`tsd run` and a master whose answers are not what it hopes for."""

import http.server
import io
import json
import threading
from contextlib import contextmanager

import pytest

from tsd.cli.client import MasterClient
from tsd.cli.interrupts import held_signals
from tsd.cli.private_cluster import PrivateCluster
from tsd.cli.progress import ProgressView
from tsd.cli.run import JobFileError, _Run, read_job
from tsd.cli.run_prints import Prints
from tsd.settings import Settings


@contextmanager
def answering(*answers):
    """A server that gives one (status, document) after the other; yields its URL."""
    waiting = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, document = waiting.pop(0)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_master_that_can_not_read_its_store_for_a_moment_is_asked_again():
    unavailable = (503, {"error": "the store can not be read"})
    completed = (200, {"ex_id": "x", "_status": "completed", "_slicer_stats": {"processed": 3}})
    view = ProgressView("job", stream=io.StringIO())
    run = _Run({"name": "job"}, PrivateCluster(Settings(), verbose=True), view, Prints(None, view.print))

    with answering(unavailable, completed) as url, held_signals():
        execution = run._watch(MasterClient(url), "x", view)

    assert execution["_slicer_stats"] == {"processed": 3}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: a job is a JSON object"),
        (b"  \n", "is empty: a job is a JSON object"),
        (b"name: x\noperations:\n", "is no JSON: Expecting value: line 1 column 1"),
        (b"caf\xe9", "is no JSON: it is no UTF-8 text"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "a job is a JSON object, with `name` and `operations`"),
    ],
    ids=range(6),
)
def test_a_file_that_is_no_job_is_told_with_its_name(tmp_path, content, words):
    path = tmp_path / "job.json"
    path.write_bytes(content)

    with pytest.raises(JobFileError) as caught:
        read_job(path)

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_job_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(JobFileError, match="cannot be read: No such file or directory"):
        read_job(tmp_path / "job.json")
