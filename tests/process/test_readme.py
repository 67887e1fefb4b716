"""The README's commands do what it says, run as they stand there, only on free ports and in a folder of their own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemons import cluster_for

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block_with(text):
    (block,) = [block for block in BLOCKS if text in block]
    return block


def bash(script, folder):
    """Run commands as a reader would paste them; what they wrote to stdout."""
    script = script.replace("/tmp/first-job", str(folder / "first-job"))
    script = script.replace(".venv/bin/tsd", f"PYTHONPATH={ROOT} {sys.executable} -m tsd.cli.main")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_make_target_of_the_readme_is_there():
    wanted = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))

    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test", "check"} <= wanted
    assert [name for name in wanted if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.mark.slow
def test_the_first_job_runs_as_the_readme_says(request, tmp_path):
    (tmp_path / "cluster").mkdir()
    with cluster_for(request, tmp_path / "cluster") as cluster:
        cluster.start_up()
        address = cluster.url.removeprefix("http://")

        answer = json.loads(bash(block_with("cat > job.json").replace("localhost:5678", address), tmp_path))
        cluster.wait_status(answer["ex_id"], "completed")
        follow = re.sub(r"JOB_ID=\S+", f"JOB_ID={answer['job_id']}", block_with("JOB_ID="))
        output = bash(follow.replace("localhost:5678", address), tmp_path)

        assert '"_status": "completed"' in output
        assert '"processed": 10' in output
        assert "first job  completed" in output
        files = list((tmp_path / "first-job").glob("*.ldjson"))
        assert sorted(len(file.read_text().splitlines()) for file in files) == [1000] * 10


@pytest.mark.slow
def test_the_first_job_runs_in_one_go(tmp_path):
    bash(block_with("cat > job.json").partition("curl")[0], tmp_path)

    output = bash(block_with("tsd run job.json"), tmp_path)

    assert re.search(r"^completed: 10 slices, 0 failed, in \d+ s$", output, re.MULTILINE)
