"""A bounded part of the attack, on every change; `make fuzz COUNT=1000000` does the rest (`tests.fuzz.attack`)."""

import pytest

from tests.fuzz.attack import LINKS, Battlefield, Fault, attack
from tsd.core.cluster.machine import ClusterMachine


@pytest.mark.parametrize("seed", range(12))
def test_no_nonsense_ends_a_machine(seed):
    field = attack(seed, 600)

    assert field.nonsense.total() > 50


@pytest.mark.parametrize("link", LINKS)
def test_each_link_is_attacked(link):
    field = Battlefield(1)
    field.links = [link]
    field.kinds[link] = list(LINKS[link][2])
    field.add("e0", field.plans["e0"])
    field.run_until(field.clock.now + 1.0)
    field.attack(200)

    assert field.nonsense[link] > 20


def test_the_attack_notices_a_machine_that_raises(monkeypatch):
    def raises(*_arguments):
        raise ValueError("as int() does for 5,000 digits")

    monkeypatch.setattr(ClusterMachine, "_not_sent", raises)

    def attack_several():
        for seed in range(5):
            attack(seed, 500)

    with pytest.raises(Fault, match="5,000 digits"):
        attack_several()
