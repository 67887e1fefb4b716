"""Parameters of the request in hand that several resources share."""

from typing import Any

from quart import g, request

from tsd.errors import InvalidRequest
from tsd.master.api import parameters
from tsd.master.api.framing import UnsupportedBody
from tsd.master.api.parameters import Page
from tsd.master.executions import StopOptions
from tsd.master.lists import ListQuery


def page() -> Page:
    """`size`, `from`, `sort`."""
    values = request.args.getlist
    return parameters.read_page(size=values("size"), start=values("from"), sort=values("sort"))


def listing() -> ListQuery:
    """`size`, `from`, `sort`, `filter`."""
    part = page()
    text = ",".join(request.args.getlist("filter")).strip()
    return ListQuery(size=part.size, start=part.start, sort=part.sort, filter_text=text)


def deleted() -> bool:
    """`deleted`."""
    return parameters.read_deleted(request.args.getlist("deleted"))


def ex_fields() -> tuple[str, ...] | None:
    """`ex`: the fields of the latest execution to show with a job; empty for all, None for no execution."""
    given = request.args.getlist("ex")
    return parameters.read_words(given) if given else None


def cleanup() -> str:
    """`cleanup_type` or `cleanup`; empty when there is none."""
    values = request.args.getlist
    word = parameters.one_of(values("cleanup_type")) or parameters.one_of(values("cleanup"))
    if word not in {"", "all", "errors", "pending"}:
        raise InvalidRequest("cleanup_type must be empty or set to all, errors, pending")
    return word


def stop_options() -> StopOptions:
    """`blocking`, `timeout`, `force`."""
    values = request.args.getlist
    return StopOptions(
        is_blocking=parameters.read_boolean("blocking", values("blocking"), default=True),
        is_forced=parameters.read_boolean("force", values("force"), default=False),
        within_s=parameters.read_duration_s("timeout", values("timeout")),
    )


def workers() -> tuple[str, int]:
    """`add`, `remove` or `total`, and how many."""
    return parameters.read_workers(list(request.args.items(multi=True)))


def body() -> dict[str, Any]:
    """The body as an object; an array has nothing that is asked for, so it is an empty one.

    Raises:
        UnsupportedBody: It is of a type that is not read.
    """
    if isinstance(g.body, UnsupportedBody):
        raise g.body
    return g.body if isinstance(g.body, dict) else {}
