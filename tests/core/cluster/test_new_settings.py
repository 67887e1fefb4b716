"""Settings that change while the daemons run."""

import attrs

from tests.support.cluster import SETTINGS, START, Cluster
from tsd.core.cluster.events import FromNode, SettingsChanged
from tsd.core.cluster.machine import ClusterMachine
from tsd.core.cluster.node import Reconfigured
from tsd.core.messages import PROTOCOL, NodeHello


def reconfigure(host, **changes):
    host.feed(Reconfigured(settings=attrs.evolve(host.machine.settings, **changes)))


def test_more_slots_take_what_waited_for_room():
    cluster = Cluster(a=2)
    cluster.post("ex", workers=4)
    cluster.run(5)
    assert len(cluster.workers("ex")) == 1

    reconfigure(cluster.host("a"), slots=5)
    cluster.host("a").slots = 5
    cluster.run(3)

    assert len(cluster.workers("ex")) == 4


def test_fewer_slots_end_nothing_that_runs():
    cluster = Cluster(a=4)
    cluster.start("ex", workers=3)
    cluster.run(2)
    running = set(cluster.workers("ex"))

    reconfigure(cluster.host("a"), slots=1)
    cluster.run(5)

    assert set(cluster.workers("ex")) == running
    assert cluster.master.cluster_state()["a"].available == -3


def test_a_longer_timeout_keeps_a_node_that_is_away():
    cluster = Cluster(a=2, b=2)
    cluster.start("ex", workers=1)
    cluster.run(2)
    cluster.feed(
        SettingsChanged(settings=attrs.evolve(SETTINGS, node_disconnect_timeout_s=300.0, config="two"))
    )
    away = cluster.controller_host("ex")
    away.is_cut = True
    cluster.run(100)

    assert away.node_id in cluster.master.cluster_state()
    assert cluster.master.settings.config == "two"


def hello(**changes):
    return NodeHello(
        **{
            "protocol": PROTOCOL,
            "version": "1",
            "python": "3.11",
            "node_id": "a",
            "hostname": "host-a",
            "pid": 7,
            "slots": 3,
            "runs": (),
            "exits": (),
            **changes,
        }
    )


def events_of(effects):
    return [action.event for action in effects.actions]


def test_a_node_with_another_file_is_told_of_once_for_each_change():
    settings = attrs.evolve(SETTINGS, config="one")
    master = ClusterMachine.restore([], settings=settings, now=START)
    say = lambda **changes: events_of(  # noqa: E731 - the shortest way to say it
        master.handle(FromNode(peer="a~1", message=hello(**changes)), now=START)
    )

    assert say(config="one") == ["node.joined"]
    assert say(config="one") == []
    assert say(config="two", slots=4, labels={"disk": "fast"}) == ["node.changed", "node.config_differs"]
    assert say(config="two", slots=4, labels={"disk": "fast"}) == []
    view = master.cluster_state()["a"]
    assert (view.total, view.config, view.labels) == (4, "two", {"disk": "fast"})
    changed = master.handle(SettingsChanged(settings=attrs.evolve(settings, config="three")), now=START)
    assert events_of(changed) == ["node.config_differs"]
