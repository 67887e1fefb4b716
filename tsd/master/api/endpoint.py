"""What an endpoint is. Declared once, it is what requests are read by and what the API says of itself.

A handler gets what its endpoint declares, already read, and nothing else: the path parameters, one argument
for each entry of `query`, and `body` if there is one. What is not declared is not read.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar

import attrs

from tsd.master.api import problems
from tsd.master.api.framing import JSON_TYPE

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]
"""Takes the service and then, by name, what the endpoint declares."""
Schema = Mapping[str, Any]
"""A JSON schema."""

TEXT_SCHEMA: Final[Schema] = {"type": "string"}


@attrs.frozen(kw_only=True)
class Parameter:
    """A parameter as clients see it.

    Attributes:
        words: What it means, for people.
        schema: Of its values, JSON Schema 2020-12.
        default: What holds without it, for people; empty when there is nothing to say.
    """

    name: str
    words: str
    schema: Schema = TEXT_SCHEMA
    default: str = ""
    is_required: bool = False


PATH_PARAMETERS: Final[Mapping[str, Parameter]] = {
    parameter.name: parameter
    for parameter in (
        Parameter(name="job_id", words="the id of a job"),
        Parameter(name="ex_id", words="the id of an execution"),
        Parameter(name="node_id", words="the id of a node, by default the name of its host"),
        Parameter(
            name="asset", words="the name of bundles, in which `*` stands for anything; to delete one, its id"
        ),
        Parameter(name="version", words="a version; `*` in it stands for anything"),
    )
}
"""Every name that may stand between `<` and `>` in a path."""


class Given:
    """What a request gives for some declared parameters; nobody sees more of its query than that.

    Args:
        parameters: Those that may be read.
        values_of: All values that the request gives under a name.
    """

    def __init__(self, parameters: tuple[Parameter, ...], values_of: Callable[[str], list[str]]) -> None:
        self._values = {parameter.name: values_of(parameter.name) for parameter in parameters}

    def __getitem__(self, name: str) -> list[str]:
        """All values under a declared name, in order."""
        return self._values[name]


@attrs.frozen(kw_only=True)
class Query(Generic[T]):
    """Query parameters that make up one argument of a handler.

    Attributes:
        parameters: Those that it is made of.
        read: Makes the argument; raises InvalidRequest for values that make none.
    """

    parameters: tuple[Parameter, ...]
    read: Callable[[Given], T]

    def late(self) -> "Query[Callable[[], T]]":
        """The same for a handler that looks something up first: it gets what reads the argument."""
        return Query(parameters=self.parameters, read=lambda given: partial(self.read, given))


@attrs.frozen
class Answer:
    """A kind of answer.

    Attributes:
        form: The type of its document, one that msgspec has a schema for.
        words: What it tells, for people.
    """

    form: Any
    words: str = ""
    content_type: str = JSON_TYPE


@attrs.frozen(kw_only=True)
class Endpoint:
    """A method of a path.

    Attributes:
        path: Its canonical form, as in `/jobs/<job_id>`.
        tag: The group that it is shown in.
        query: Arguments of the handler that come from the query.
        body: The type of the document that is wanted as `body`; None for none.
        takes_upload: The body is a file, which the handler reads piece by piece as `upload`.
        answers: By status.
        errors: When those statuses are answered that not every endpoint has.
    """

    method: str
    path: str
    tag: str
    handler: Handler
    answers: Mapping[int, Answer]
    query: Mapping[str, Query[Any]] = {}
    body: Any = None
    takes_upload: bool = False
    errors: Mapping[int, str] = {}

    def __attrs_post_init__(self) -> None:
        wanted = set(list(inspect.signature(self.handler).parameters)[1:])
        declared = {*self.path_names, *self.query, *(() if self.body is None else ("body",))}
        declared |= {"upload"} if self.takes_upload else set()
        if wanted != declared or not PATH_PARAMETERS.keys() >= set(self.path_names):
            raise TypeError(f"{self.name} takes {sorted(wanted)}, declared are {sorted(declared)}")

    @property
    def name(self) -> str:
        """Unique among all endpoints."""
        return self.handler.__name__

    @property
    def path_names(self) -> tuple[str, ...]:
        """Names of the path parameters, in order."""
        return tuple(re.findall(r"<(\w+)>", self.path))

    @property
    def path_parameters(self) -> tuple[Parameter, ...]:
        """The path parameters, in order."""
        return tuple(PATH_PARAMETERS[name] for name in self.path_names)

    @property
    def query_parameters(self) -> tuple[Parameter, ...]:
        """All query parameters."""
        return tuple(parameter for query in self.query.values() for parameter in query.parameters)

    @property
    def problems(self) -> Mapping[int, str]:
        """Every status that an error of it can have, and when."""
        bad = [problems.BAD_QUERY] if self.query else []
        bad += [problems.BAD_BODY] if self.body is not None else []
        bad += [problems.BAD_CHANGE] if self.method != "GET" else []
        found = {**problems.ANYWHERE, **({400: "; ".join(bad)} if bad else {})}
        if self.body is not None:
            found[415] = problems.UNREAD_BODY
        return dict(sorted({**found, **self.errors}.items()))

    @property
    def summary(self) -> str:
        """What it does, in a line: the first of the handler's docstring."""
        return self._words()[0].rstrip(".")

    @property
    def description(self) -> str:
        """The rest of the docstring; may be empty."""
        return self._words()[1]

    def _words(self) -> tuple[str, str]:
        summary, _, rest = (inspect.getdoc(self.handler) or self.name).partition("\n\n")
        return summary, rest.replace("\n", " ")


@attrs.frozen
class Group:
    """Declares the endpoints of one tag.

    Attributes:
        tag: The group that they are shown in.
    """

    tag: str

    def declare(
        self,
        method: str,
        path: str,
        *,
        answer: Any,
        also: Mapping[int, Answer] = {},
        query: Mapping[str, Query[Any]] = {},
        body: Any = None,
        takes_upload: bool = False,
        errors: Mapping[int, str] = {},
    ) -> Callable[[Handler], Endpoint]:
        """Make an endpoint of a handler.

        Args:
            method: In capitals.
            path: In canonical form.
            answer: What success is answered with: an `Answer`, or the type of a JSON document.
            also: More answers by status.
            query: See `Endpoint`.
            body: See `Endpoint`.
            takes_upload: See `Endpoint`.
            errors: See `Endpoint`.
        """
        success = answer if isinstance(answer, Answer) else Answer(answer)

        def declared(handler: Handler) -> Endpoint:
            return Endpoint(
                method=method,
                path=path,
                tag=self.tag,
                handler=handler,
                answers={200: success, **also},
                query=query,
                body=body,
                takes_upload=takes_upload,
                errors=errors,
            )

        return declared
