"""The query parameters that there are, each declared with its words and its schema.

How a value is read is in `parameters`. A name means the same wherever it is declared.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from tsd.errors import InvalidRequest
from tsd.master import assets
from tsd.master.api import parameters
from tsd.master.api.endpoint import Given, Parameter, Query, Schema
from tsd.master.api.parameters import Page
from tsd.master.executions import StopOptions
from tsd.master.lists import DEFAULT_SORT, ListQuery
from tsd.master.nodes import DrainOptions
from tsd.operations.formats import LOG_LEVELS
from tsd.operations.job_fields import WORKERS_MAX
from tsd.operations.schema import DURATION_PATTERN
from tsd.store import lucene
from tsd.store.fields import (
    ASSET_FIELDS,
    ERROR_FIELDS,
    EXECUTION_FIELDS,
    JOB_FIELDS,
    LETTER_FIELDS,
    SORT_KEYS_MAX,
    Field,
    sortable,
)

_CLEANUPS: Final = ("all", "errors", "pending")
_CLEANUP: Final[Schema] = {"type": "string", "enum": [*_CLEANUPS, ""]}

_BLANK: Final[Schema] = {"type": "string", "pattern": f"^[{parameters.BLANKS}]*$"}
_BOOLEAN: Final[Schema] = {
    "title": "boolean",
    "anyOf": [
        {"type": "boolean"},
        {"type": "string", "enum": ["true", "false", "1", "0", "yes", "no"]},
        _BLANK,
    ],
}
_COUNT: Final[Schema] = {
    "title": "whole number",
    "anyOf": [
        {"type": "number", "minimum": 0, "exclusiveMaximum": parameters.WINDOW_MAX + 1},
        _BLANK,
    ],
}
"""Fractions are cut off, so they are in order."""

_SIZE = Parameter(name="size", words="how many at most", schema=_COUNT, default="100")
_FROM = Parameter(
    name="from",
    words=f"how many to leave out first; `from` + `size` may be {parameters.WINDOW_MAX:,}",
    schema=_COUNT,
    default="0",
)
_FILTER = Parameter(
    name="filter",
    words="a query in Lucene's syntax, such as `_status:running AND workers:>=2`",
    schema={"type": "string", "maxLength": lucene.LENGTH_MAX},
)


def _flag(name: str, words: str, *, default: str) -> Parameter:
    return Parameter(name=name, words=words, schema=_BOOLEAN, default=default)


def _timeout(*, default: str) -> Parameter:
    return Parameter(
        name="timeout",
        words="how long running slices have to end: milliseconds, or a text such as `90s`",
        schema={"title": "duration", "type": "string", "pattern": f"^({DURATION_PATTERN})?$"},
        default=default,
    )


# --- lists --------------------------------------------------------------------------------------


def _read_page(given: Given) -> Page:
    return parameters.read_page(size=given["size"], start=given["from"], sort=given["sort"])


def _read_filter(given: Given) -> str:
    return ",".join(given["filter"]).strip(parameters.BLANKS)


def _read_listing(given: Given, *, default_sort: str = "") -> ListQuery:
    part = _read_page(given)
    return ListQuery(
        size=part.size, start=part.start, sort=part.sort or default_sort, filter_text=_read_filter(given)
    )


def _sort(fields: Mapping[str, Field], default: str) -> Parameter:
    names = sortable(fields)
    key = f"({'|'.join(names)})(:(asc|desc)?)?"
    return Parameter(
        name="sort",
        words="`field:asc` or `field:desc`, several separated by commas; a field alone is ascending. "
        f"Fields are {', '.join(names)}",
        schema={"type": "string", "pattern": f"^({key}(,{key}){{0,{SORT_KEYS_MAX - 1}}})?$"},
        default=default,
    )


def _listing(fields: Mapping[str, Field], sort: str = DEFAULT_SORT) -> Query[ListQuery]:
    """Which part of a list, in which order."""
    return Query(
        parameters=(_SIZE, _FROM, _sort(fields, sort), _FILTER),
        read=lambda given: _read_listing(given, default_sort=sort),
    )


JOB_LISTING: Final = _listing(JOB_FIELDS)
EXECUTION_LISTING: Final = _listing(EXECUTION_FIELDS)
ERROR_LISTING: Final = _listing(ERROR_FIELDS)
LETTER_LISTING: Final = _listing(LETTER_FIELDS, "time:desc")
LETTER_FILTER: Final = Query(
    parameters=(attrs.evolve(_FILTER, words=f"only those; {_FILTER.words}", default="all"),),
    read=_read_filter,
)
AGAIN: Final = Query(
    parameters=(_flag("again", "also those that were replayed before", default="false"),),
    read=lambda given: parameters.read_boolean("again", given["again"], default=False),
)
ASSET_PAGE: Final = Query(
    parameters=(_SIZE, _FROM, _sort(ASSET_FIELDS, assets.DEFAULT_SORT)), read=_read_page
)
"""Which part of a list of bundles, in which order."""

BLOCKING: Final = Query(
    parameters=(
        _flag("blocking", "makes no difference: the answer always tells what became of it", default="true"),
    ),
    read=lambda given: parameters.read_boolean("blocking", given["blocking"], default=True),
)
IS_FORCED: Final = Query(
    parameters=(_flag("force", "also when an execution uses it or a job needs it", default="false"),),
    read=lambda given: parameters.read_boolean("force", given["force"], default=False),
)


def _read_window(given: Given) -> slice:
    try:
        page = _read_page(given)
    except InvalidRequest:
        return slice(0)
    return slice(page.start, page.size)


WINDOW: Final = Query(
    parameters=(
        Parameter(
            name="size", words="the row before which to end; nothing is shown if it is wrong", default="100"
        ),
        Parameter(name="from", words="the row to begin with; nothing is shown if it is wrong", default="0"),
        Parameter(name="sort", words="has no effect"),
    ),
    read=_read_window,
)
"""Rows from `from` up to `size`, which is the end here and not a count, as in Teraslice."""

DELETED: Final = Query(
    parameters=(
        _flag("deleted", "lists those that are deleted, and only those; empty means true", default="false"),
    ),
    read=lambda given: parameters.read_deleted(given["deleted"]),
)
ACTIVE: Final = Query(
    parameters=(_flag("active", "only those that are active, or that are not", default="both"),),
    read=lambda given: parameters.read_flag("active", given["active"]),
)
STATUSES: Final = Query(
    parameters=(
        Parameter(
            name="status",
            words="only those in this status, or in one of several separated by commas; `*` for all",
            default="all",
        ),
    ),
    read=lambda given: parameters.read_words(given["status"]),
)


def _read_ex_fields(given: Given) -> tuple[str, ...] | None:
    return parameters.read_words(given["ex"]) if given["ex"] else None


EX_FIELDS: Final = Query(
    parameters=(
        Parameter(
            name="ex",
            words="adds, as `ex`, such fields of the latest execution, separated by commas; all when empty",
        ),
    ),
    read=_read_ex_fields,
)
"""The fields of the latest execution to show with a job; empty for all, None for no execution."""

# --- verbs --------------------------------------------------------------------------------------

STARTS: Final = Query(
    parameters=(_flag("start", "also runs the job", default="true"),),
    read=lambda given: parameters.read_boolean("start", given["start"], default=True),
)


def _read_stop_options(given: Given) -> StopOptions:
    return StopOptions(
        is_blocking=parameters.read_boolean("blocking", given["blocking"], default=True),
        is_forced=parameters.read_boolean("force", given["force"], default=False),
        within_s=parameters.read_duration_s("timeout", given["timeout"]),
    )


STOP_OPTIONS: Final = Query(
    parameters=(
        _flag("blocking", "answers when it has ended", default="true"),
        _timeout(default="shutdown_timeout"),
        _flag("force", "does not wait for running slices", default="false"),
    ),
    read=_read_stop_options,
)


def _read_drain_options(given: Given) -> DrainOptions:
    return DrainOptions(
        is_blocking=parameters.read_boolean("blocking", given["blocking"], default=True),
        within_s=parameters.read_duration_s("timeout", given["timeout"]),
    )


DRAIN_OPTIONS: Final = Query(
    parameters=(
        _flag("blocking", "answers when nothing runs there any more", default="true"),
        _timeout(default="as long as they need"),
    ),
    read=_read_drain_options,
)


def _read_cleanup(given: Given) -> str:
    word = parameters.one_of(given["cleanup_type"]) or parameters.one_of(given["cleanup"])
    if word not in {"", *_CLEANUPS}:
        raise InvalidRequest("cleanup_type must be empty or set to all, errors, pending")
    return word


CLEANUP: Final = Query(
    parameters=(
        Parameter(
            name="cleanup_type",
            words="ends after running such slices again, instead of going on after them",
            schema=_CLEANUP,
        ),
        Parameter(name="cleanup", words="another name of `cleanup_type`, which wins", schema=_CLEANUP),
    ),
    read=_read_cleanup,
)
"""`all`, `errors`, `pending`; empty to go on."""


def _read_workers(given: Given) -> tuple[str, int]:
    names = ("add", "remove", "total")
    return parameters.read_workers([(name, value) for name in names for value in given[name]])


def _worker_count(name: str, words: str) -> Parameter:
    return Parameter(
        name=name,
        words=f"{words}; exactly one of `add`, `remove` and `total` is given",
        schema={"type": "integer", "minimum": 1, "maximum": WORKERS_MAX},
    )


WORKERS: Final = Query(
    parameters=(
        _worker_count("add", "how many more"),
        _worker_count("remove", "how many less"),
        _worker_count("total", "how many in all"),
    ),
    read=_read_workers,
)
"""What to do with the number of workers, and how many."""


def _read_log_level(given: Given) -> str:
    level = parameters.one_of(given["log_level"])
    if level not in LOG_LEVELS:
        shown = level[:80] or "undefined"
        raise InvalidRequest(f'Invalid log level "{shown}", must be one of: {", ".join(LOG_LEVELS)}')
    return level


LOG_LEVEL: Final = Query(
    parameters=(
        Parameter(
            name="log_level",
            words="the level from which they log",
            schema={"type": "string", "enum": list(LOG_LEVELS)},
            is_required=True,
        ),
    ),
    read=_read_log_level,
)

# --- tables -------------------------------------------------------------------------------------

FIELDS: Final = Query(
    parameters=(
        Parameter(
            name="fields",
            words="the columns, separated by commas; `a.b` and `a[0].b` reach into objects",
            default="those of the table",
        ),
    ),
    read=lambda given: parameters.read_columns(given["fields"]),
)
HEADERS: Final = Query(
    parameters=(
        Parameter(name="headers", words="`false` leaves out the names of the columns", default="true"),
    ),
    read=lambda given: given["headers"][:1] != ["false"],
)
