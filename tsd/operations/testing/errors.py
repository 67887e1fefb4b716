"""What a harness says when it is used in a way that can not work."""

from tsd.errors import TsdError


class HarnessError(TsdError):
    """The test asks the harness for something that it can not do; the message says what to do instead."""
