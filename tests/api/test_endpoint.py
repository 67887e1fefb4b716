import importlib
import pkgutil
import re

import pytest

import tsd.master.api
from tsd.errors import InvalidRequest
from tsd.master.api import queries
from tsd.master.api.catalogue import ENDPOINTS
from tsd.master.api.endpoint import Endpoint, Given, Group

GROUP = Group("Things")


def given_for(query, **values):
    return Given(query.parameters, lambda name: values.get(name, []))


def test_every_endpoint_that_a_module_declares_is_served():
    modules = [
        importlib.import_module(f"tsd.master.api.{module.name}")
        for module in pkgutil.iter_modules(tsd.master.api.__path__)
    ]
    declared = {
        value.name for module in modules for value in vars(module).values() if isinstance(value, Endpoint)
    }

    assert declared - {endpoint.name for endpoint in ENDPOINTS} == set()


def test_no_two_endpoints_have_the_same_name_or_the_same_place():
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_parameters_at_the_same_place_of_a_path_have_the_same_name():
    """OpenAPI takes paths that differ in such names for one path."""
    paths = {endpoint.path for endpoint in ENDPOINTS}

    assert len({re.sub(r"<\w+>", "<>", path) for path in paths}) == len(paths)


def test_every_endpoint_and_parameter_says_what_it_is():
    assert [endpoint.name for endpoint in ENDPOINTS if not endpoint.summary] == []
    assert [
        (endpoint.name, parameter.name)
        for endpoint in ENDPOINTS
        for parameter in (*endpoint.path_parameters, *endpoint.query_parameters)
        if not parameter.words
    ] == []


def test_a_handler_that_wants_more_than_is_declared_is_refused():
    async def handler(service, *, listing):
        """Nobody declares the listing."""

    with pytest.raises(TypeError, match=r"handler takes \['listing'\], declared are \[\]"):
        GROUP.declare("GET", "/things", answer=str)(handler)


def test_a_handler_that_ignores_what_is_declared_is_refused():
    async def handler(service):
        """Do not look at the listing."""

    with pytest.raises(TypeError, match=r"handler takes \[\], declared are \['listing'\]"):
        GROUP.declare("GET", "/things", query={"listing": queries.JOB_LISTING}, answer=str)(handler)


def test_an_unknown_path_parameter_is_refused():
    async def handler(service, thing_id):
        """Get a thing."""

    with pytest.raises(TypeError, match="thing_id"):
        GROUP.declare("GET", "/things/<thing_id>", answer=str)(handler)


def test_what_is_not_declared_can_not_be_read():
    given = given_for(queries.DELETED, deleted=["true"], size=["5"])

    assert given["deleted"] == ["true"]
    with pytest.raises(KeyError):
        given["size"]


def test_the_docstring_of_a_handler_is_what_people_read():
    @GROUP.declare("GET", "/things", answer=str)
    async def handler(service):
        """List things.

        There may
        be many.
        """

    assert (handler.summary, handler.description) == ("List things", "There may be many.")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, ""),
        ({"cleanup": ["all"]}, "all"),
        ({"cleanup": ["all"], "cleanup_type": ["errors", "pending"]}, "pending"),
        ({"cleanup": ["all"], "cleanup_type": [""]}, "all"),
    ],
)
def test_the_last_cleanup_type_wins_over_cleanup(values, word):
    assert queries.CLEANUP.read(given_for(queries.CLEANUP, **values)) == word


def test_another_cleanup_is_refused():
    with pytest.raises(InvalidRequest, match="cleanup_type must be empty or set to all, errors, pending"):
        queries.CLEANUP.read(given_for(queries.CLEANUP, cleanup=["some"]))


def test_workers_of_several_kinds_are_refused():
    with pytest.raises(InvalidRequest, match="valid worker parameter"):
        queries.WORKERS.read(given_for(queries.WORKERS, add=["1"], total=["2"]))
    assert queries.WORKERS.read(given_for(queries.WORKERS, total=["2"])) == ("total", 2)


def test_a_wrong_window_of_a_table_is_an_empty_one():
    assert queries.WINDOW.read(given_for(queries.WINDOW, size=["x"])) == slice(0)
    assert queries.WINDOW.read(given_for(queries.WINDOW, **{"from": ["1"], "size": ["3"]})) == slice(1, 3)
