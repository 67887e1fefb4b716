import subprocess
import sys

import pytest

CHECKED = """
import sys
from tsd.observe.lean import import_structlog
import_structlog()
import {module}
assert "rich" not in sys.modules, "rich was imported"
import rich, rich.console
import structlog
structlog.get_logger().info("still.logs")
"""


@pytest.mark.parametrize(
    "module", ["tsd.master.daemon", "tsd.node.daemon", "tsd.cli.up", "tsd.worker.process"]
)
def test_daemons_do_without_rich_and_what_wants_it_gets_it(module):
    ran = subprocess.run(
        [sys.executable, "-c", CHECKED.format(module=module)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert "still.logs" in ran.stdout


def test_nothing_changes_where_rich_is_there_already():
    checked = (
        "import rich, sys; from tsd.observe.lean import import_structlog; import_structlog();"
        "assert sys.modules['rich'] is rich; import structlog.dev; assert structlog.dev.rich is rich"
    )

    subprocess.run([sys.executable, "-c", checked], check=True)
