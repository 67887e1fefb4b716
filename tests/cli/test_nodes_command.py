"""What `tsd drain` says of each state of a drain; tests/process/test_drain.py runs the commands on a cluster."""

import pytest

from tsd.cli.client import MasterUnreachable
from tsd.cli.node_store import Draining, describe

DRAINED = {
    "node_id": "a",
    "state": "drained",
    "processes": 0,
    "drain_since": "2026-01-31T01:02:03.004Z",
    "staying": [],
    "waiting": [],
}


def waiting(*ex_ids):
    return [{"ex_id": ex_id, "reason": "waits for 2 free slots"} for ex_id in ex_ids]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "drained"),
        ({"state": "draining", "processes": 1}, "1 process left"),
        ({"state": "draining", "processes": 3}, "3 processes left"),
        ({"state": "disconnected", "processes": 2}, "2 processes left, but the node is away"),
        ({"state": "disconnected"}, "away, nothing is known to run there"),
        ({"waiting": waiting("x")}, "drained; 1 execution waits: x waits for 2 free slots"),
        (
            {"waiting": waiting("x", "y")},
            "drained; 2 executions wait, the first: x waits for 2 free slots",
        ),
        (
            {"state": "draining", "processes": 1, "staying": ["x"]},
            "1 process left; x stays until it ends, its slicer is not recoverable",
        ),
    ],
)
def test_how_far_a_drain_is_in_words(changes, words):
    assert describe(DRAINED | changes) == words


class Answers:
    """What a master answers, one question after the other; an exception is one that does not answer."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def drain(self, node_id, *, timeout):
        return self.one(node_id)

    def one(self, node_id):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def left(count):
    return DRAINED | {"state": "draining", "processes": count}


def drain(*answers, waits=True):
    said = []
    code = Draining(Answers(*answers), "a", said.append).run(timeout=None, waits=waits)
    return code, said


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("tsd.cli.node_store.LOOK_EVERY_S", 0.0)


def test_each_thing_is_said_once():
    assert drain(left(2), left(2), left(1), left(1), DRAINED) == (
        0,
        ["a: 2 processes left", "a: 1 process left", "a: drained"],
    )


def test_without_waiting_it_is_said_how_far_it_is():
    assert drain(left(2), waits=False) == (0, ["a: 2 processes left"])


def test_a_master_that_does_not_answer_for_a_while_is_waited_for():
    gone = MasterUnreachable("http://m does not answer: refused")

    assert drain(left(2), gone, gone, left(1), DRAINED) == (
        0,
        [
            "a: 2 processes left",
            "http://m does not answer: refused; what was wished is stored, waiting for it",
            "a: 1 process left",
            "a: drained",
        ],
    )


def test_somebody_else_may_take_it_back():
    again = {key: value for key, value in left(2).items() if key != "drain_since"}

    assert drain(left(2), again) == (1, ["a: 2 processes left", "a: somebody uses it again"])
