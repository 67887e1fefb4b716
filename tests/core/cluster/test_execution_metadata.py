"""Metadata of an execution: from its controller into the store, and to the next controller."""

import json

import pytest

from tests.core.cluster.test_controllers import hello, report, running, say
from tsd.core.cluster.events import FromController, SaveMetadata
from tsd.core.fields import METADATA_B_MAX
from tsd.core.messages import ControllerBeat, ControllerWelcome
from tsd.core.records import ExecutionStats


def beat(metadata, generation=1):
    return ControllerBeat(
        ex_id="x",
        generation=generation,
        sent_at=1.0,
        revision=0,
        workers=(),
        lost_workers=(),
        exits_seen=(),
        stats=ExecutionStats(),
        metadata=metadata,
    )


def saved(cluster, message, peer="x/1/c"):
    effects = cluster.feed(FromController(peer=peer, message=message))
    return [save.metadata for save in effects.saves if isinstance(save, SaveMetadata)]


def test_metadata_is_saved_when_it_has_changed_and_only_then():
    cluster = running()

    assert saved(cluster, beat("")) == []
    assert saved(cluster, beat('{"a":1}')) == ['{"a":1}']
    assert saved(cluster, beat('{"a":1}')) == []
    assert saved(cluster, report(2, "slice_failed", metadata='{"a":2}')) == ['{"a":2}']
    assert json.loads(cluster.record("x").document)["metadata"] == {"a": 2}


def test_what_an_older_generation_says_of_it_is_not_taken():
    cluster = running()

    assert saved(cluster, beat('{"a":1}', generation=0)) == []


def test_a_controller_that_says_hello_again_gets_it():
    cluster = running()
    saved(cluster, beat('{"a":1}'))

    (welcome,) = [m for m in say(cluster, "x/1/c", hello()) if isinstance(m, ControllerWelcome)]

    assert json.loads(welcome.execution)["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    "text", ["[1]", "nonsense", '"text"', '{"a":' + "[" * 9000, '{"a":"' + "x" * METADATA_B_MAX + '"}']
)
def test_what_is_no_object_or_too_long_is_no_message(text):
    with pytest.raises(ValueError):
        beat(text)
