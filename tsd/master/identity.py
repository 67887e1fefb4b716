"""What this cluster says it is, in the words that clients of Teraslice look for."""

import platform
import sys

from tsd import __version__
from tsd.assets.host import node_arch

TERASLICE_VERSION = "3.18.0"
"""The version whose job files and REST API these are; clients compare it."""
NODE_VERSION = f"v{platform.python_version()}"
"""In the place of Node's version: that of the Python which runs operations, in the same form."""


def info(cluster_name: str) -> dict[str, object]:
    """The answer to `GET /`."""
    return {
        "arch": node_arch(),
        "clustering_type": "native",
        "name": cluster_name,
        "node_version": NODE_VERSION,
        "platform": sys.platform,
        "teraslice_version": f"v{TERASLICE_VERSION}",
        "tsd_version": __version__,
    }
