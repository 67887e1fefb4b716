"""Imports of libraries without what daemons do not need of them.

structlog imports rich, and that pygments, when they are there, for colourful tracebacks that tsd does not
use. In each daemon that costs 4 MB and 50 ms.
"""

import importlib
import sys


def import_structlog() -> None:
    """Import structlog so that it does without rich; to be called before anything else imports it.

    What imports rich itself, now or later, gets it. No effect when either is imported already.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # to Python: there is no such module
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
