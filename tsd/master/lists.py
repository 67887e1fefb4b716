"""What a client wants of a list, and the page of the store that it is."""

from collections.abc import Mapping

import attrs

from tsd.store.fields import Field
from tsd.store.filters import condition_of
from tsd.store.listing import Page
from tsd.store.writer import unix_ms

DEFAULT_SORT = "_updated:desc"


@attrs.frozen(kw_only=True)
class ListQuery:
    """Part, order and filter of a list.

    Attributes:
        sort: `field[:asc|desc]`, several separated by commas; empty for the latest update first.
        filter_text: A filter; empty for none.
    """

    size: int = 100
    start: int = 0
    sort: str = ""
    filter_text: str = ""

    def page(self, fields: Mapping[str, Field]) -> Page:
        """The page of the store.

        Args:
            fields: What the rows of the list have.

        Raises:
            InvalidRequest: The filter is none, or none for these fields.
        """
        sort = self.sort or DEFAULT_SORT
        where = None
        if self.filter_text:
            where = condition_of(self.filter_text, fields, now_ms=unix_ms(), sort=sort)
        return Page(size=self.size, start=self.start, sort=sort, where=where)
