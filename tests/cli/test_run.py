"""`tsd run` and a master whose answers are not what it hopes for."""

import http.server
import io
import json
import threading
from contextlib import contextmanager

from tsd.cli.client import MasterClient
from tsd.cli.interrupts import held_signals
from tsd.cli.private_cluster import PrivateCluster
from tsd.cli.progress import ProgressView
from tsd.cli.run import _Run
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
    run = _Run({"name": "job"}, PrivateCluster(Settings(), verbose=True))

    with answering(unavailable, completed) as url, held_signals():
        execution = run._watch(MasterClient(url), "x", ProgressView("job", stream=io.StringIO()))

    assert execution["_slicer_stats"] == {"processed": 3}
