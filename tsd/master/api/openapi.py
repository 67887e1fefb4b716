"""OpenAPI 3.1 out of the declared endpoints."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from tsd import __version__
from tsd.master.api import documents
from tsd.master.api.endpoint import Answer, Endpoint, Parameter
from tsd.master.api.framing import FORM_TYPE, JSON_TYPE
from tsd.master.api.problems import ANYWHERE, RETRY_AFTER_S, UNREAD_BODY

Object = dict[str, Any]

ABOUT: Final = """\
Paths, parameters, field names and messages are Teraslice's, so its clients work unchanged.

Each path works with and without `/v1` in front, in any case but for ids, and with a slash at its end.
`slicer` and `slicers` are other words for `controller` and `controllers`. `HEAD` works where `GET` does. An
unknown path is answered by 404, and by 405 with `Allow` one that does not know the method.

Query parameters that are not named here are left alone, and an empty one counts as absent unless it says
otherwise. Booleans are `true`, `false`, `1`, `0`, `yes` or `no` in any case. Numbers are read as JavaScript
reads them; fractions are cut off.

An answer to GET with 200 has a weak `ETag`, unless it is long; with it in `If-None-Match` the next one is 304
without a body, if nothing has changed.

Every answer has an `X-Request-Id`, which the request may choose, and which is in the log. Everything that is
no success is a Problem: the status, and what is wrong. Answer 503 says in `Retry-After` when to try again.
"""
BODY_WORDS: Final = (
    "JSON, also under the form type, because `curl -d` says that; as any `…+json`, or without a content "
    "type; in UTF-8; plain or compressed by gzip or deflate."
)
_JSON_TEXT: Final[Object] = {"type": "string", "contentMediaType": "application/json"}
"""No names and values, whatever the type says."""
_SCHEMAS: Final = "#/components/schemas/{name}"
_RESPONSES: Final = "#/components/responses/"
_HEADERS: Final[Mapping[str, Object]] = {
    "X-Request-Id": {
        "description": "the id of the request, which it may choose itself; the log has it too",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds after which to try again",
        "schema": {"type": "integer", "minimum": 1, "examples": [RETRY_AFTER_S]},
    },
    "ETag": {"description": "names this answer, for `If-None-Match`", "schema": {"type": "string"}},
    "Allow": {"description": "the methods that the path knows", "schema": {"type": "string"}},
}


def describe(endpoints: Sequence[Endpoint]) -> Object:
    """The whole document.

    Args:
        endpoints: What to describe, in the order in which readers see it.
    """
    forms = Forms(endpoints)
    paths: dict[str, Object] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(_path_of(endpoint), {})
        operations[endpoint.method.lower()] = _operation(endpoint, endpoints, forms)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tsd",
            "version": __version__,
            "summary": "Sliced data-processing jobs on a cluster",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "/", "description": "this master"},
            {"url": "/v1", "description": "the same under the prefix that Teraslice's clients use"},
        ],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": forms.schemas,
            "headers": dict(_HEADERS),
            "responses": _shared_responses(forms),
            "links": _links(endpoints),
        },
    }


class Forms:
    """The schemas of all documents, and how to name them."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        types = [documents.Problem]
        for endpoint in endpoints:
            types += [answer.form for answer in endpoint.answers.values()]
            types += [endpoint.body] if endpoint.body is not None else []
        self._types = types
        self._schemas, self.schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS)

    def __getitem__(self, form: Any) -> Object:
        """The schema of a form, by reference where it has a name."""
        return self._schemas[self._types.index(form)]


def _path_of(endpoint: Endpoint) -> str:
    return endpoint.path.replace("<", "{").replace(">", "}")


def _operation(endpoint: Endpoint, others: Sequence[Endpoint], forms: Forms) -> Object:
    operation: Object = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    parameters = [_parameter(parameter, "path") for parameter in endpoint.path_parameters]
    parameters += [_parameter(parameter, "query") for parameter in endpoint.query_parameters]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        schema = forms[endpoint.body]
        operation["requestBody"] = {
            "description": BODY_WORDS,
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                FORM_TYPE: {"schema": {**_JSON_TEXT, "contentSchema": schema}},
            },
        }
    if endpoint.takes_upload:
        operation["requestBody"] = {
            "description": "The file itself; any content type but JSON or a form.",
            "required": True,
            "content": {"application/zip": {"schema": {}}, "application/octet-stream": {"schema": {}}},
        }
    operation["responses"] = _responses(endpoint, others, forms)
    return operation


def _parameter(parameter: Parameter, place: str) -> Object:
    default = f" (default: {parameter.default})" if parameter.default else ""
    described: Object = {
        "name": parameter.name,
        "in": place,
        "description": parameter.words + default,
        "schema": dict(parameter.schema),
    }
    if place == "path" or parameter.is_required:
        described["required"] = True
    return described


# --- answers ------------------------------------------------------------------------------------


def _responses(endpoint: Endpoint, others: Sequence[Endpoint], forms: Forms) -> Object:
    found = {status: _answer(endpoint, answer, others, forms) for status, answer in endpoint.answers.items()}
    if endpoint.method == "GET":
        found[200]["headers"] |= _headers("ETag")
        found[304] = {"description": "the client has it already", "headers": _headers("X-Request-Id", "ETag")}
    for status, words in endpoint.problems.items():
        if status in found:  # such as 503 of /ready: what it says itself, or what any request may be told
            schemas = [forms[endpoint.answers[status].form], forms[documents.Problem]]
            found[status] |= {"content": {_media(JSON_TYPE): {"schema": {"anyOf": schemas}}}}
            found[status] |= {"headers": _headers("X-Request-Id")}
        elif words == _SHARED.get(status):
            found[status] = {"$ref": _RESPONSES + _shared_name(status)}
        else:
            found[status] = _problem(words, status, forms)
    return {str(status): found[status] for status in sorted(found)}


def _answer(endpoint: Endpoint, answer: Answer, others: Sequence[Endpoint], forms: Forms) -> Object:
    described: Object = {
        "description": answer.words or endpoint.summary,
        "headers": _headers("X-Request-Id"),
        "content": {_media(answer.content_type): {"schema": forms[answer.form]}},
    }
    if answer.form is documents.Ids:
        described["links"] = {
            other.name: {"$ref": f"#/components/links/{other.name}"} for other in others if _takes_ids(other)
        }
    return described


def _takes_ids(endpoint: Endpoint) -> bool:
    """Whether the ids in an answer are all that its path needs."""
    return bool(endpoint.path_names) and {"job_id", "ex_id"}.issuperset(endpoint.path_names)


def _links(endpoints: Iterable[Endpoint]) -> Object:
    """What can be done with the ids in an answer."""
    return {
        endpoint.name: {
            "operationId": endpoint.name,
            "parameters": {name: f"$response.body#/{name}" for name in endpoint.path_names},
        }
        for endpoint in endpoints
        if _takes_ids(endpoint)
    }


def _problem(words: str, status: int, forms: Forms) -> Object:
    names = {503: ("X-Request-Id", "Retry-After"), 405: ("X-Request-Id", "Allow")}
    return {
        "description": words,
        "headers": _headers(*names.get(status, ("X-Request-Id",))),
        "content": {_media(JSON_TYPE): {"schema": forms[documents.Problem]}},
    }


def _headers(*names: str) -> Object:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _media(content_type: str) -> str:
    return content_type.partition(";")[0]


_SHARED: Final[Mapping[int, str]] = {
    **ANYWHERE,
    405: "the path does not know this method",
    415: UNREAD_BODY,
}


def _shared_responses(forms: Forms) -> Object:
    return {_shared_name(status): _problem(words, status, forms) for status, words in _SHARED.items()}


def _shared_name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")
