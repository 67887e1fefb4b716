"""How classes become operations, and how registries find them."""

import pytest
import trio

from tests.support.pipelines import REGISTRY
from tsd.errors import AssetError
from tsd.operations import (
    Api,
    ApiConfig,
    BatchProcessor,
    Fetcher,
    MapProcessor,
    OpContext,
    Slicer,
    api,
    operation,
    reader,
)
from tsd.operations.base import Kind
from tsd.operations.registry import Registry


def test_a_hook_that_does_not_exist_is_refused_where_the_class_is_defined():
    with pytest.raises(
        TypeError, match=r"Broken\.on_slice_failure: there is no such hook; hooks are .*on_slice_failed"
    ):

        class Broken(BatchProcessor):
            def on_slice_failure(self, slice_id):
                pass


def test_on_batch_belongs_to_batch_processors_only():
    with pytest.raises(TypeError, match=r"Broken\.on_batch"):

        class Broken(MapProcessor):
            def on_batch(self, records):
                pass


@pytest.mark.parametrize("name", ["", "_x", ".x", "a@b", "a:b"])
def test_a_name_that_jobs_could_not_write_is_refused(name):
    with pytest.raises(TypeError, match="can not be a name"):

        @operation(name)
        class Named(BatchProcessor):
            pass


def test_decorators_refuse_the_wrong_kind_of_class():
    with pytest.raises(TypeError, match="for a Processor"):
        operation("x")(Fetcher)
    with pytest.raises(TypeError, match="for a Fetcher"):
        reader("x", slicer=Slicer)(BatchProcessor)
    with pytest.raises(TypeError, match="for an Api"):
        api("x")(BatchProcessor)


def test_a_registry_knows_what_its_modules_define_and_nothing_else():
    plain = Registry()

    assert REGISTRY.processor("logbook").kind is Kind.PROCESSOR
    assert REGISTRY.api("watcher:tag").kind is Kind.OBSERVER
    with pytest.raises(AssetError, match="Unable to find module for operation: logbook"):
        plain.processor("logbook")


def test_a_name_in_two_modules_is_refused_when_it_is_used():
    """Point 47."""
    registry = Registry(["tests.support.sample_operations", "tests.support.clashing_operations"])

    with pytest.raises(AssetError, match=r'Multiple assets containing the same processor name _op: "noop"'):
        registry.processor("noop")
    assert registry.processor("delay")


def test_a_module_that_does_not_load_is_named():
    with pytest.raises(AssetError, match=r"Unable to load operation module tests\.support\.absent"):
        Registry(["tests.support.absent"])


def test_an_api_is_no_operation():
    with pytest.raises(AssetError, match="Unable to find module for operation: lines"):
        REGISTRY.processor("lines")


def test_an_async_initialize_may_await_that_of_its_base():
    class Waiting(Api):
        async def initialize(self):
            await super().initialize()
            self.is_ready = True

    waiting = Waiting(OpContext(), ApiConfig(name="x"), {})
    trio.run(waiting.initialize)

    assert waiting.is_ready
