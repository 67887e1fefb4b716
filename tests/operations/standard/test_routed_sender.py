"""routed_sender: connectors.md points 24 and 25."""

import json
from pathlib import Path

import pytest
import trio

from tests.support.pipelines import checked, make_pipeline, run
from tsd.errors import JobInvalid, NonRetryable
from tsd.ids import slice_id
from tsd.operations.apis import ApiFactory, api
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.registry import Registry


@api("note_sender_api")
class NoteSenderApi(ApiFactory):
    """Its senders write down what they are told."""

    def initialize(self):
        self.made, self.verified, self.calls = [], [], []
        self.fails = 0

    def create(self, name, overrides):
        self.made.append((name, dict(overrides)))
        return NoteSender(self, name), overrides


class NoteSender:
    def __init__(self, notes, name):
        self.notes = notes
        self.name = name

    def verify(self, route):
        self.notes.verified.append(route)
        if route == "bad":
            raise ValueError("no bad routes")

    def send(self, records, route):
        if self.notes.fails:
            self.notes.fails -= 1
            raise RuntimeError("the destination is away")
        self.notes.calls.append((self.name, route, [record["n"] for record in records]))
        return len(records)


@api("slow_sender_api")
class SlowSenderApi(ApiFactory):
    """Its senders are async, and count how many calls there are at once."""

    def initialize(self):
        self.now = self.most = 0
        self.sent = []
        self.error = None

    def create(self, name, overrides):
        return SlowSender(self), overrides


class SlowSender:
    def __init__(self, notes):
        self.notes = notes

    async def send(self, records, route):
        notes = self.notes
        if notes.error:
            raise notes.error
        notes.now += 1
        notes.most = max(notes.most, notes.now)
        await trio.testing.wait_all_tasks_blocked()
        notes.now -= 1
        notes.sent += [record["n"] for record in records]


def made(routing, *, api_name="note_sender_api", **options):
    """The pipeline, its API, and the records that are rejected."""
    rejected = []
    action = options.pop("action", "none")
    context = OpContext(
        sleep=lambda _s: None, on_reject=lambda r: rejected.append((r.record["n"], str(r.error)))
    )
    spec = {"_op": "routed_sender", "_api_name": api_name, "routing": routing, "_dead_letter_action": action}
    raw = {
        "name": "test",
        "max_retries": 2,
        "operations": [{"_op": "list_reader"}, {"_op": "with_metadata"}, {**spec, **options}],
        "apis": [{"_name": api_name}],
    }
    registry = Registry(["tests.support.sample_operations", __name__])
    job = validate_job(raw, registry=registry).job
    pipeline = Pipeline(job | {"ex_id": "ex"}, registry, context, keep_records=True)
    pipeline.initialize()
    return pipeline, pipeline.apis.components[0], rejected


def routed(*routes):
    """Numbered records with these routes."""
    return [
        {"n": i, "meta": {} if route is None else {"standard:route": route}} for i, route in enumerate(routes)
    ]


def test_routes_with_commas_go_to_their_connection_each_told_apart():
    """connectors.md point 24."""
    pipeline, notes, _ = made({"a, b": "one", "c": "two"})

    outcome = run(pipeline, *routed("a", "c", "b", "a"))

    assert [record["n"] for record in outcome.records] == [0, 1, 2, 3]
    assert notes.calls == [("one", "a", [0, 3]), ("two", "c", [1]), ("one", "b", [2])]
    assert notes.made == [("one", {"connection": "one"}), ("two", {"connection": "two"})]


def test_a_star_takes_the_rest_to_the_destination_itself():
    """connectors.md point 24."""
    pipeline, notes, _ = made({"a": "one", "*": "two"})

    run(pipeline, *routed("x", "a", None, "*", "y"))

    assert notes.calls == [("one", "a", [1]), ("two", "", [0, 2, 3, 4])]


def test_two_stars_tell_each_route_apart_and_verify_it_once():
    """connectors.md point 24."""
    pipeline, notes, rejected = made({"**": "one"})
    assert notes.made == [("one", {"connection": "one"})]

    run(pipeline, *routed("x", "y", "x", None))
    run(pipeline, *routed("y", "z"))

    assert notes.calls == [("one", "x", [0, 2]), ("one", "y", [1]), ("one", "y", [0]), ("one", "z", [1])]
    assert notes.verified == ["x", "y", "z"]
    assert rejected == [(3, "the record has no route")]


def test_a_route_of_its_own_wins_over_two_stars():
    pipeline, notes, _ = made({"**": "one", "x": "two"})

    run(pipeline, *routed("x", "y"))

    assert notes.calls == [("two", "x", [0]), ("one", "y", [1])]


def test_what_fits_no_route_is_rejected():
    """connectors.md point 24."""
    pipeline, notes, rejected = made({"a": "one"})

    run(pipeline, *routed("a", "b", None))

    assert notes.calls == [("one", "a", [0])]
    assert rejected == [(1, "no routing for route 'b'"), (2, "the record has no route")]


def test_a_route_that_the_sender_refuses_is_rejected_and_the_others_are_sent():
    pipeline, notes, rejected = made({"**": "one"})

    for _ in range(2):
        run(pipeline, *routed("bad", "good"))

    assert notes.calls == [("one", "good", [1])] * 2
    assert rejected == [(0, "no bad routes")] * 2
    assert notes.verified == ["bad", "good"]


def test_no_call_has_more_records_than_size():
    """connectors.md point 24."""
    pipeline, notes, _ = made({"*": "one"}, size=3)

    run(pipeline, *routed(*["x"] * 7))

    assert [numbers for _, _, numbers in notes.calls] == [[0, 1, 2], [3, 4, 5], [6]]


def test_after_a_failed_attempt_nothing_is_queued():
    """connectors.md point 25."""
    pipeline, notes, _ = made({"*": "one"})
    notes.fails = 1

    outcome = run(pipeline, *routed("x", "y"))
    run(pipeline, {"n": 9})

    assert outcome.retry_count == 1
    assert notes.calls == [("one", "", [0, 1]), ("one", "", [9])]


def test_a_reject_that_throws_comes_before_anything_is_sent():
    """connectors.md point 25."""
    pipeline, notes, _ = made({"a": "one"}, action="throw")

    assert run(pipeline, *routed("a", "b")).state == "error"
    run(pipeline, *routed("a"))

    assert notes.calls == [("one", "a", [0])]


@pytest.mark.parametrize(("concurrency", "most"), [(0, 1), (2, 2), (10, 4)])
def test_async_senders_are_called_so_many_at_once(concurrency, most):
    pipeline, notes, _ = made({"**": "one"}, api_name="slow_sender_api", concurrency=concurrency, size=1)

    outcome = run(pipeline, *routed("a", "b", "a", "c"))

    assert outcome.error is None
    assert (sorted(notes.sent), notes.most) == ([0, 1, 2, 3], most)


def test_the_error_of_an_async_sender_is_raised_as_it_is():
    pipeline, notes, _ = made({"*": "one"}, api_name="slow_sender_api")
    notes.error = NonRetryable("never again")

    outcome = run(pipeline, *routed("a"))

    assert (outcome.state, outcome.retry_count) == ("error", 0)
    assert "never again" in outcome.error


@pytest.mark.parametrize(
    ("routing", "part"),
    [
        ({"*": "a", "**": "b"}, "both"),
        ({"a,*": "a", "b,**": "b"}, "both"),
        ({"a,b": "x", "b": "y"}, "twice"),
        ({"a,": "x"}, "empty route"),
        ({}, "must be an object"),
        ({"a": ""}, "required"),
    ],
    ids=range(6),
)
def test_routing_that_can_not_work_is_refused(routing, part):
    """connectors.md point 24."""
    with pytest.raises(JobInvalid) as info:
        made(routing)

    ((path, message),) = info.value.faults
    assert path == "operations[2].routing"
    assert part in message


def test_an_api_is_required():
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", {"_op": "routed_sender", "routing": {"*": "one"}})

    assert [path for path, _ in info.value.faults] == ["operations[1]._api_name"]


# --- into files -----------------------------------------------------------------------------------


def into_files(tmp_path, routing, records, **options):
    """The lines of each file, by the folder that it is in, and the outcome."""
    sender = {"_name": "file_sender_api", "path": str(tmp_path / "out"), "format": "ldjson", "durable": False}
    spec = {"_op": "routed_sender", "_api_name": "file_sender_api", "routing": routing, **options}
    pipeline = make_pipeline("with_metadata", spec, apis=[sender], max_retries=0)
    outcome = run(pipeline, *records)
    files = [path for path in (tmp_path / "out").rglob("*.ldjson") if ".tsd" not in path.parts]
    found = {
        str(path.parent.relative_to(tmp_path / "out")): [
            json.loads(line)["n"] for line in path.read_text().splitlines()
        ]
        for path in files
    }
    assert {path.name.partition(".")[0] for path in files} <= {
        f"ex-{slice_id('ex', 0, 1)}-{c}" for c in ("default", "two")
    }
    return found, outcome


def test_files_are_written_below_their_route(tmp_path):
    found, _ = into_files(tmp_path, {"a,b": "default", "*": "two"}, routed("a", "b", "a", "c", None))

    assert found == {"a": [0, 2], "b": [1], ".": [3, 4]}


def test_a_dynamic_route_may_have_folders_in_it(tmp_path):
    assert into_files(tmp_path, {"**": "default"}, routed("x/y", "z"))[0] == {"x/y": [0], "z": [1]}


@pytest.mark.parametrize(
    "route", ["../out2", "/etc", "a/../../b", ".tsd/work", "a//b", "nul\0", "x" * 256, "a/"]
)
def test_a_route_never_leads_out_of_the_path(tmp_path, route):
    found, outcome = into_files(tmp_path, {"**": "default"}, routed(route, "ok"), _dead_letter_action="none")

    assert (found, outcome.state) == ({"ok": [1]}, "completed")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["out"]
