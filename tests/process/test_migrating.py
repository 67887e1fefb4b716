"""docs/migrating.md: its Python form of a processor is one that runs."""

import re

from tests.support.daemons import ROOT
from tsd.operations.testing import WorkerHarness


def test_the_processor_of_the_page_runs(tmp_path, monkeypatch):
    text = (ROOT / "docs/migrating.md").read_text()
    (example,) = re.findall(
        r"^<!-- example: shout.py -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "shout_of_the_page.py").write_text(example)
    monkeypatch.syspath_prepend(str(tmp_path))

    shout = {"_op": "shout", "mark": "?"}
    with WorkerHarness.for_processor(shout, modules=["shout_of_the_page"]) as harness:
        assert harness.run_slice([{"text": "hi"}]) == [{"text": "HI?"}]
