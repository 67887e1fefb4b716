"""One page of a list, and what all lists share."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
from sqlalchemy import ColumnElement, Connection, RowMapping, Select

from tsd.errors import InvalidRequest
from tsd.store import sqlite

WINDOW_MAX: Final = 10_000
"""Furthest row that a list reaches, as in OpenSearch: who needs more filters or reads in ranges of time."""

READ_S_MAX: Final = 5.0
"""How long a page may take to find. There are few readers, and other things wait for them too."""


@attrs.frozen(kw_only=True)
class Page:
    """Which part of a list.

    Attributes:
        size: At most so many rows.
        start: Rows to leave out before them.
        sort: `field[:asc|desc]`, several separated by commas.
        where: A further condition over the fields of `tsd.store.fields`; None for none.
    """

    size: int = 100
    start: int = 0
    sort: str = "_updated:desc"
    where: ColumnElement[bool] | None = None


def cut(statement: Select[Any], page: Page) -> Select[Any]:
    """Narrow a statement to its page, but not sort it.

    Raises:
        InvalidRequest: The page begins before the list or ends beyond `WINDOW_MAX`.
    """
    if page.size < 0 or page.start < 0:
        raise InvalidRequest("size and from must not be negative")
    if page.size + page.start > WINDOW_MAX:
        raise InvalidRequest(f"Result window is too large, from + size must be at most {WINDOW_MAX}")
    if page.where is not None:
        statement = statement.where(page.where)
    return statement.limit(page.size).offset(page.start)


def fetch(
    connection: Connection, statement: Select[Any], *, within_s: float = READ_S_MAX
) -> Sequence[RowMapping]:
    """The rows of a page.

    Args:
        connection: In a transaction.
        statement: Narrowed by `cut`, and sorted.
        within_s: How long it may take.

    Raises:
        InvalidRequest: It takes longer.
    """
    try:
        with sqlite.time_limit(connection, within_s):
            return connection.execute(statement).mappings().fetchall()
    except sqlite.TooSlow:
        raise InvalidRequest(
            f"to find this page takes longer than {within_s:g} s: filter by an id, a status or a time,"
            " by fewer words, or sort by _updated or _created"
        ) from None
