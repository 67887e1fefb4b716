"""Executions that are stored together with slices, as replays are."""

import pytest

from tests.support.cluster import Cluster


@pytest.mark.parametrize("has_slices", [True, False])
def test_the_first_controller_of_an_execution_goes_on_with_slices_that_were_stored_with_it(has_slices):
    cluster = Cluster(a=4)
    cluster.lazy = True
    cluster.post("x", has_slices=has_slices)
    cluster.run(2)

    assert cluster.controller("x").welcome.resume is has_slices
