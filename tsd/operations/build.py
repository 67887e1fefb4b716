"""Building the components of a process from a checked job."""

from collections.abc import Mapping
from typing import Any

from tsd.error_texts import located
from tsd.operations.apis import Apis
from tsd.operations.base import Component, Definition
from tsd.operations.config import load
from tsd.operations.context import OpContext
from tsd.operations.registry import Registry


def build_apis(job: Mapping[str, Any], registry: Registry, ctx: OpContext) -> Apis:
    """Construct the APIs and observers of the job and attach them to the context.

    Raises:
        AssetError: One is unknown.
        JobInvalid: The options of one are wrong, which a checked job does not have.
    """
    apis = Apis(ctx)
    ctx.attach_apis(apis)
    ctx.execution = job
    for i, entry in enumerate(job.get("apis") or ()):
        name = entry["_name"]
        definition = registry.api(name)
        apis.add(name, build(definition, entry, f"apis[{i}]", ctx))
    return apis


def build(
    definition: Definition, entry: Mapping[str, Any], path: str, ctx: OpContext, *, is_slicer: bool = False
) -> Component:
    """Construct one component of the context's execution.

    Args:
        definition: What to construct.
        entry: Its options as in the job.
        path: Where they stand, for errors.
        ctx: Runtime services.
        is_slicer: Construct the slicer of a reader rather than its fetcher.

    Raises:
        JobInvalid: The options are wrong, which a checked job does not have.
    """
    config, _ = load(definition.config, entry, path)
    cls = definition.slicer if is_slicer else definition.component
    assert cls is not None, "every reader has a slicer"
    try:
        component = cls(ctx, config, ctx.execution)
    except Exception as error:
        located(error, f"{definition.name} ({path})")
        raise
    component.position = path
    return component
