"""APIs: helpers that the operations of a process share, declared under `apis` and found by name."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from typing_extensions import override

from tsd.error_texts import located
from tsd.errors import OperationError
from tsd.operations.base import Component, Kind, mark_api
from tsd.operations.config import ApiConfig
from tsd.operations.context import OpContext


class Api(Component):
    """Makes something for operations to share: a function, an object, whatever suits.

    A process makes it once, after `initialize` of the API and before any operation is initialized. An API may
    define any hook.
    """

    def create(self, *params: Any) -> Any:
        """Make the product."""
        raise NotImplementedError


class ApiFactory(Api):
    """An API whose product is an `ApiRegistry`: several named clients of one kind."""

    @override
    def create(self, name: str, overrides: Mapping[str, Any]) -> Any:
        """Make a client.

        Returns:
            The client, and the options it was made with.
        """
        raise NotImplementedError

    def remove(self, name: str) -> Any:
        """Let go of a client."""


class Observer(Component):
    """Watches through hooks and offers nothing; `OpContext.apis.observer` finds it."""


class ApiRegistry:
    """The named clients of an `ApiFactory`."""

    def __init__(self, factory: ApiFactory, ctx: OpContext) -> None:
        self._factory = factory
        self._ctx = ctx
        self._clients: dict[str, tuple[Any, Any]] = {}

    @property
    def size(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    def get(self, name: str) -> Any:
        """The client of that name, or None."""
        return self._clients.get(name, (None, None))[0]

    def get_config(self, name: str) -> Any:
        """The options that the client was made with, or None."""
        return self._clients.get(name, (None, None))[1]

    def create(self, name: str, overrides: Mapping[str, Any] | None = None) -> Any:
        """Make a client; only for plain methods, as an async factory would block the loop that called.

        Raises:
            OperationError: The name is taken.
        """
        self._refuse_taken(name)
        self._clients[name] = self._ctx.call(self._factory.create, name, overrides or {})
        return self._clients[name][0]

    async def create_async(self, name: str, overrides: Mapping[str, Any] | None = None) -> Any:
        """As `create`, for async methods."""
        self._refuse_taken(name)
        made = self._factory.create(name, overrides or {})
        self._clients[name] = await made if hasattr(made, "__await__") else made
        return self._clients[name][0]

    def remove(self, name: str) -> None:
        """Forget a client, after its factory has let go of it."""
        if name in self._clients:
            self._ctx.call(self._factory.remove, name)
            del self._clients[name]

    def entries(self) -> list[tuple[str, Any]]:
        """(name, client) of each."""
        return [(name, client) for name, (client, _) in self._clients.items()]

    def keys(self) -> list[str]:
        """The names."""
        return list(self._clients)

    def values(self) -> list[Any]:
        """The clients."""
        return [client for client, _ in self._clients.values()]

    def _refuse_taken(self, name: str) -> None:
        if name in self._clients:
            raise OperationError(f"{self._factory.name} already has a client named {name!r}")


class Apis:
    """All APIs and observers of a process by their full names, tags included."""

    def __init__(self, ctx: OpContext) -> None:
        self._ctx = ctx
        self._components: dict[str, Component] = {}
        self._products: dict[str, Any] = {}

    @property
    def components(self) -> tuple[Component, ...]:
        """The APIs and observers in the order of the job."""
        return tuple(self._components.values())

    def has(self, name: str) -> bool:
        """Whether there is an API or observer of that name."""
        return name in self._components

    def add(self, name: str, component: Component) -> None:
        """Take in an API or observer.

        Raises:
            OperationError: The name is taken.
        """
        if name in self._components:
            raise OperationError(f'Cannot register API "{name}" due to conflict')
        self._components[name] = component

    def place_of(self, name: str) -> str:
        """Where the API of that name stands in the job, for errors; its name when there is none."""
        component = self._components.get(name)
        return name if component is None else component.place

    def get(self, name: str) -> Any:
        """The product of an API.

        Raises:
            OperationError: There is no such API, it is an observer, or it is not made yet.
        """
        if name in self._products:
            return self._products[name]
        self._require_api(name)
        raise OperationError(f'API "{name}" is not created yet')

    def create(self, name: str, *params: Any) -> Any:
        """The product of an API, made now if it is not made yet; later parameters are ignored.

        Raises:
            OperationError: There is no such API, or it is an observer.
        """
        if name in self._products:
            if params:
                self._ctx.log.warning("api.params_ignored", api=name)
            return self._products[name]
        component = self._require_api(name)
        if isinstance(component, ApiFactory):
            product: Any = ApiRegistry(component, self._ctx)
        else:
            product = self._ctx.call(component.create, *params)
        self._products[name] = product
        return product

    def observer(self, name: str) -> Observer:
        """An observer.

        Raises:
            OperationError: There is none of that name.
        """
        component = self._components.get(name)
        if not isinstance(component, Observer):
            raise OperationError(f'There is no observer named "{name}"')
        return component

    def initialize(self) -> None:
        """Initialize every API and observer and make every product, in the order of the job."""
        for name, component in self._components.items():
            self._ctx.on_doing(f"initializing API {component.place}")
            try:
                self._ctx.call(component.initialize)
                if isinstance(component, Api):
                    self.create(name)
            except Exception as error:
                located(error, component.place)
                raise

    def _require_api(self, name: str) -> Api:
        component = self._components.get(name)
        if isinstance(component, Observer):
            raise OperationError(f'"{name}" is an observer, not an API')
        if not isinstance(component, Api):
            known = ", ".join(self._components) or "none"
            raise OperationError(f'Unable to find API by name "{name}"; there are: {known}')
        return component


ComponentT = TypeVar("ComponentT", bound=Component)


def api(name: str, *, config: type[ApiConfig] = ApiConfig) -> Callable[[type[ComponentT]], type[ComponentT]]:
    """Make an Api, ApiFactory or Observer class one that jobs name in `apis`."""

    def mark(cls: type[ComponentT]) -> type[ComponentT]:
        if not issubclass(cls, Api | Observer):
            raise TypeError(f"@api is for an Api or an Observer, and {cls.__name__} is none")
        return mark_api(cls, name, Kind.OBSERVER if issubclass(cls, Observer) else Kind.API, config)

    return mark


def collect_hooks(
    components: Iterable[Component], name: str, ctx: OpContext
) -> tuple[Callable[..., Any], ...]:
    """The components' own methods for a hook, async ones bound to the loop; empty when none defines it."""
    hooks = []
    for component in components:
        method = getattr(component, name, None)
        if method is not None:
            hooks.append(_bind(method, ctx))
    return tuple(hooks)


def call_hooks(hooks: tuple[Callable[..., Any], ...], *args: Any) -> None:
    """Call what `collect_hooks` found; an error of one says whose it was, and the rest is not called."""
    for hook in hooks:
        try:
            hook(*args)
        except Exception as error:
            method = hook.args[0] if isinstance(hook, functools.partial) else hook
            owner = getattr(method, "__self__", None)
            if isinstance(owner, Component):
                located(error, f"{method.__name__} of {owner.place}")
            raise


def _bind(method: Callable[..., Any], ctx: OpContext) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):
        return functools.partial(ctx.run_async, method)
    return method
