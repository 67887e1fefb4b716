"""What each error means in HTTP, and the one shape in which clients see it: `{error, message}`."""

from collections.abc import Mapping

from tsd import errors
from tsd.master.api.framing import BodyTooLarge, BodyTooSlow, UnsupportedBody

STATUS_OF: Mapping[type[errors.TsdError], int] = {
    errors.TsdError: 500,
    errors.FaultsError: 400,
    errors.ConfigError: 500,
    errors.PortInUse: 500,
    errors.JobInvalid: 400,
    errors.WireError: 500,
    errors.LocalWireError: 500,
    errors.RemoteWireError: 500,
    errors.StateError: 409,
    errors.IllegalTransition: 422,
    errors.NotFound: 404,
    errors.NotActive: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.Unavailable: 500,
    errors.NotReady: 503,
    errors.InvalidRequest: 400,
    UnsupportedBody: 415,
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    errors.Unprocessable: 422,
    errors.StoreError: 503,
    errors.StoreCorrupt: 503,
    errors.StoreLocked: 503,
    errors.StoreUnusable: 503,
    errors.SchemaTooNew: 503,
    errors.AssetError: 400,
    errors.AssetInvalid: 422,
    errors.AssetTooLarge: 413,
    errors.OperationError: 500,
    errors.NonRetryable: 500,
    errors.SourceChanged: 500,
    errors.CannotResume: 500,
    errors.Fatal: 500,
}
"""HTTP status of every class of `tsd.errors`; a test walks the tree. An error class of another module
has the status of its nearest ancestor here."""

RETRY_AFTER_S = 5
"""What clients are told to wait after a 503."""
MESSAGE_LENGTH_MAX = 3000
"""Longer messages are cut, as Teraslice does."""


ANYWHERE: Mapping[int, str] = {
    408: "the request did not come in time",
    413: "the body is larger than `tsd.max_body_size`, as sent or when inflated",
    431: "the path and the headers are too long",
    500: "a fault of tsd, whose details the log has under the id of the request",
    503: "the master starts or ends, has too much to do, or its store does not take writes",
    504: "the request took longer than `api_response_timeout`; what it asked for may still happen",
}
"""When these statuses are answered, whatever is asked for."""
BAD_QUERY = "a parameter is wrong"
BAD_CHANGE = "the request comes from a web page of another site, or its body is no JSON"
BAD_BODY = "what the body says is wrong, with every fault and its path"
UNREAD_BODY = "a content type, charset or encoding of the body that is not read"


def status_of(error: errors.TsdError) -> int:
    """The HTTP status for an error of ours."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
    raise AssertionError("every TsdError descends from TsdError")


def problem(status: int, message: str) -> dict[str, object]:
    """The body of an answer that is no success."""
    message = message.strip()
    if len(message) >= MESSAGE_LENGTH_MAX:
        message = message[: MESSAGE_LENGTH_MAX - 4] + " ..."
    return {"error": status, "message": message}
