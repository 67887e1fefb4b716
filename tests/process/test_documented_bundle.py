"""The path from a new bundle to its upgrade that docs/operations.md shows: what a reader types must work."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import cluster_for, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
BLOCKS = dict(
    re.findall(r"^<!-- example: (bundle_\w+) -->\n```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)


@pytest.fixture
def typed(request, tmp_path):
    """Types a block of the page in the folder of the bundle, at a cluster; what was printed."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "tsd").write_text(f'#!/bin/sh\nexec {sys.executable} -m tsd.cli.main "$@"\n')
    (programs / "tsd").chmod(0o755)
    with cluster_for(request, tmp_path) as cluster:
        cluster.start_up()

        def type_in(name, folder=tmp_path / "my_ops", **env):
            commands = BLOCKS[name].replace("http://127.0.0.1:5678", cluster.url)
            done = subprocess.run(
                ["bash", "-euc", commands.replace("/tmp/my_ops-example", str(tmp_path / "out"))],
                cwd=folder,
                env={
                    **os.environ,
                    "PATH": f"{programs}:{os.environ['PATH']}",
                    "PYTHONPATH": str(ROOT),
                    "TSD_URL": cluster.url,
                    **env,
                },
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        type_in.cluster = cluster
        yield type_in


def greetings(folder):
    """The first words of all greetings that were written."""
    lines = [line for file in folder.glob("*.ldjson") for line in file.read_text().splitlines()]
    return {json.loads(line)["greeting"].partition(",")[0] for line in lines}


def test_the_path_from_a_new_bundle_to_its_upgrade(typed, tmp_path):
    """Points 23 and 38 of bundles."""
    cluster = typed.cluster
    typed("bundle_init", tmp_path)
    job = tmp_path / "my_ops/examples/job.json"
    job.write_text(job.read_text().replace("/tmp/my_ops-example", str(tmp_path / "out")))
    assert "processor  greet" in typed("bundle_build")
    assert greetings(tmp_path / "out") == {"Hello"}

    output = typed("bundle_deploy")
    posted = json.loads(output[output.index("{\n") :])
    cluster.wait_status(posted["ex_id"], "running")
    typed("bundle_upgrade")
    seen = len(list((tmp_path / "out").iterdir()))
    until(lambda: len(list((tmp_path / "out").iterdir())) > seen + 1, "the execution goes on")
    assert greetings(tmp_path / "out") == {"Hello"}

    typed("bundle_restart", JOB_ID=posted["job_id"])
    until(
        lambda: greetings(tmp_path / "out") == {"Hello", "Good day"}, "the next start takes the new version"
    )
    assert [asset["version"] for asset in cluster.get("/assets/my_ops")] == ["1.1.0"]
    cluster.post(f"/jobs/{posted['job_id']}/_stop")
