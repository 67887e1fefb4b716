"""Real daemons for the tests of the API; one set a module, because starting them takes a second."""

import pytest

from tests.support.daemons import cluster_for


@pytest.fixture(scope="module")
def master(request, tmp_path_factory):
    """A master without a node: executions stay pending."""
    settings = {"tsd.max_body_size": "200 KiB"}
    with cluster_for(request, tmp_path_factory.mktemp("master"), **settings) as cluster:
        cluster.start_master()
        yield cluster


@pytest.fixture(scope="module")
def api(master):
    """An HTTP client of the master without a node."""
    return master.client()


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """A master and one node of six slots."""
    settings = {"tsd.operation_modules": ["tests.support.ops"]}
    with cluster_for(request, tmp_path_factory.mktemp("cluster"), workers=6, **settings) as cluster:
        cluster.start_master()
        cluster.start_node()
        yield cluster
