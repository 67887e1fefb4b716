"""What a client wants of a list, and the page of the store that it is."""

import attrs

from tsd.errors import InvalidRequest
from tsd.store.listing import Page

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

    def page(self) -> Page:
        """The page of the store.

        Raises:
            InvalidRequest: A filter is given.
        """
        if self.filter_text:
            raise InvalidRequest("filter is not supported yet")
        return Page(size=self.size, start=self.start, sort=self.sort or DEFAULT_SORT)
