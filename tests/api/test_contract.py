"""The API keeps what /openapi.json promises: schemathesis makes up requests, and checks the answers.

`contract.toml` says how it runs and which checks do not fit the contract; hooks are in
tests/support/contract_hooks.py. To go further than here, run the same program by hand with `--max-examples`
and another `--seed`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import cluster_for

ROOT = Path(__file__).resolve().parents[2]
PHASES = "coverage,fuzzing,stateful"


@pytest.mark.slow
@pytest.mark.timeout(450)  # some 30 s on an idle machine
def test_the_api_does_what_its_description_says(request, tmp_path):
    with cluster_for(request, tmp_path, workers=6) as cluster:
        cluster.start_up()
        program = Path(sys.executable).with_name("schemathesis")
        done = subprocess.run(
            [
                *(program, "--config-file", ROOT / "tests/api/contract.toml", "run"),
                *(f"{cluster.url}/openapi.json", "--phases", PHASES, "--max-examples", "10"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        tested = re.search(r"Test cases:\n  ([\d,]+) generated", done.stdout)
        faults = [line for line in cluster.daemons["up"].log.splitlines() if "api.fault" in line]

        assert done.returncode == 0, done.stdout[-20_000:]
        assert tested is not None, done.stdout[-20_000:]
        assert int(tested[1].replace(",", "")) > 1000
        assert faults == []
