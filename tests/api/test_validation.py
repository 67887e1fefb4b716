"""Checking jobs that use bundles, whose code runs in a child: what it may do there, and what comes of it."""

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.bundles import bundle, id_of, operations
from tests.support.daemons import until
from tsd.assets.archive import Limits
from tsd.assets.folders import AssetFolders
from tsd.assets.host import this_host
from tsd.errors import JobInvalid, NotReady
from tsd.master.assets import UPLOADS_AT_ONCE, AssetService
from tsd.master.bundles import BundleFiles
from tsd.master.validation import JobChecker
from tsd.operations.registry import Registry
from tsd.store.store import open_store


@asynccontextmanager
async def checker_of(folder, *bundles, uploads_at_once=UPLOADS_AT_ONCE, **options):
    """A checker in a folder, with these bundles stored."""
    async with open_store(folder) as store:
        assets = AssetService(
            store=store,
            files=BundleFiles(folder / "bundles", 10_000_000),
            folders=AssetFolders(folder / "assets"),
            limits=Limits.of(10_000_000),
            host=this_host(),
            uploads_at_once=uploads_at_once,
        )
        for data in bundles:
            await assets.save(_pieces(data))
        yield JobChecker(
            registry=Registry(),
            modules=(),
            assets=assets,
            connections=frozenset(),
            cpu_count=1,
            **options,
        )


async def _pieces(data):
    yield data


def untried(code):
    """A bundle whose code is not imported when it is uploaded, because it is for another system.

    By its id a job takes it all the same.
    """
    return bundle(files={"ops/__init__.py": code}, platform="plan9")


def job(*names, assets=("ex",), **fields):
    operations = [{"_op": "test-reader"}, *({"_op": name} for name in names)]
    return {"name": "j", "assets": list(assets), "operations": operations} | fields


async def faults_of(checker, posted):
    with pytest.raises(JobInvalid) as info:
        await checker.check(posted)
    return dict(info.value.faults)


async def test_a_job_gets_ids_defaults_and_warnings_of_unknown_options(tmp_path):
    """Points 16 and 22 of bundles."""
    new, old = operations("ex", "1.10.0"), operations("ex", "1.9.0")
    async with checker_of(tmp_path, new, old) as checker:
        posted = job("shout@ex:^1.9.0", assets=["ex", "ex:^1.9.0"], big=2**80)
        checked = await checker.check(posted)

    assert checked.job["assets"] == [id_of(new)]
    assert checked.job["operations"][1]["_op"] == f"shout@{id_of(new)}"
    assert checked.job["operations"][1]["mark"] == "!"
    assert checked.job["big"] == 2**80
    assert checked.unknown_options == ("big",)
    assert posted["assets"] == ["ex", "ex:^1.9.0"]
    assert not any(name.partition(".")[0] == "ops" for name in sys.modules)


async def test_more_uploads_than_fit_are_refused_and_leave_nothing(tmp_path):
    async with checker_of(tmp_path, uploads_at_once=1) as checker, trio.open_nursery() as nursery:
        more_in, more = trio.open_memory_channel[bytes](0)

        async def slowly():
            async for data in more:
                yield data

        nursery.start_soon(checker.assets.save, slowly())
        await more_in.send(b"PK")
        with pytest.raises(NotReady, match="1 bundles are being uploaded"):
            await checker.assets.save(_pieces(operations()))
        assert len(list((tmp_path / "bundles").iterdir())) == 1
        nursery.cancel_scope.cancel()

    assert list((tmp_path / "bundles").iterdir()) == []


async def test_a_full_id_is_taken_whatever_it_is_for(tmp_path):
    """Point 19 of bundles."""
    data = operations(platform="plan9")
    async with checker_of(tmp_path, data) as checker:
        checked = await checker.check(job("shout", assets=[id_of(data)]))
        faults = await faults_of(checker, job("shout"))

    assert checked.job["assets"] == [id_of(data)]
    assert faults == {
        "assets[0]": 'No asset found for "ex", due to a platform mismatch:'
        f" ex:1.0.0 needs platform plan9, this is {this_host().platform}",
        "operations[1]._op": "Validation failed for operation config: shout - "
        "Unable to find module for operation: shout",
    }


async def test_all_faults_are_told_at_once(tmp_path):
    async with checker_of(tmp_path, operations()) as checker:
        faults = await faults_of(
            checker, job("shout@ex", "nope", assets=["zz", "ex", "ex:newest"], workers=0)
        )

    assert list(faults) == ["workers", "assets[0]", "assets[2]", "operations[2]._op"]
    assert faults["assets[0]"] == 'No assets found for "zz"'


async def test_options_are_checked_by_the_code_of_the_bundle(tmp_path):
    async with checker_of(tmp_path, operations()) as checker:
        posted = job("shout")
        posted["operations"][1]["mark"] = 5
        faults = await faults_of(checker, posted)

    assert list(faults) == ["operations[1].mark"]


async def test_javascript_is_stored_and_not_run(tmp_path):
    data = bundle("js", files={"index.js": "export const ASSETS = {}"}, node_version=22)
    async with checker_of(tmp_path, data) as checker:
        faults = await faults_of(checker, job("noop", assets=["js"]))

    assert faults == {
        "assets[0]": 'asset "js" (js:1.0.0) is JavaScript, which tsd can not run:'
        " its operations have to be written in Python"
    }


async def test_a_zip_that_was_lost_is_told(tmp_path):
    data = operations()
    async with checker_of(tmp_path, data) as checker:
        (tmp_path / f"bundles/{id_of(data)}.zip").unlink()
        faults = await faults_of(checker, job("noop"))

    assert "upload the same bytes again" in faults["assets[0]"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "x = 1\nraise ValueError('not today')",
            (
                "Unable to load operation module ops of asset ex:1.0.0: ValueError: not today,"
                " in ops/__init__.py, line 2: raise ValueError('not today')"
            ),
        ),
        (
            "import sys; print('so', flush=True)\nsys.exit(3)",
            "SystemExit: 3, in ops/__init__.py, line 2: sys.exit(3)",
        ),
        ("import os; os._exit(0)", "ended its process with exit code 0"),
        (
            "import os; os.write(2, b'last words')\nos.abort()",
            "ended by signal 6 (SIGABRT) when the job was checked, in ops/__init__.py, line 2: os.abort(): last words",
        ),
        ("import os; os.close(0); os.closerange(3, 50)", "when the job was checked"),
        ("x = bytearray(10 ** 12)", "MemoryError"),
        ("def f(): f()\nf()", "RecursionError"),
        (
            "import os\nfor d in range(3, 50):\n    try: os.write(d, b'{}')\n    except OSError: pass",
            "exit code 0",
        ),
    ],
    ids=lambda value: None,
)
async def test_code_that_misbehaves_fails_the_job_and_nothing_else(tmp_path, code, words):
    data = untried(code)
    async with checker_of(tmp_path, data) as checker:
        faults = await faults_of(checker, job("noop", assets=["zz", id_of(data)]))

    assert words in faults["assets"], faults
    assert faults["assets[0]"] == 'No assets found for "zz"'


@pytest.mark.parametrize(
    "code",
    ["import time\nwhile True: pass", "import signal, time; signal.alarm(0)\ntime.sleep(1000)"],
)
async def test_code_that_hangs_fails_the_job_in_time_and_is_found(tmp_path, code):
    data = untried(code)
    async with checker_of(tmp_path, data, child_within_s=1) as checker:
        faults = await faults_of(checker, job("noop", assets=[id_of(data)]))

    assert faults == {
        "assets": "the code of the assets was still running after 1 s when the job was checked,"
        f" in ops/__init__.py, line 2: {code.splitlines()[1]}"
    }


CHECKED = """
from tsd.operations import MapProcessor, OpConfig, operation

@operation("strict", config=OpConfig)
class Strict(MapProcessor):
    @classmethod
    def check_job(cls, config, job):
        return job["absent"]
"""


async def test_a_check_of_a_bundle_that_fails_is_found(tmp_path):
    async with checker_of(tmp_path, bundle(files={"operations/__init__.py": CHECKED})) as checker:
        faults = await faults_of(checker, job("strict"))

    assert faults == {
        "assets": "asset ex:1.0.0 failed when the job was checked: KeyError: 'absent',"
        ' in operations/__init__.py, line 8: return job["absent"]'
    }


async def test_what_code_prints_does_no_harm(tmp_path):
    code = (
        "import os\nprint('{}' * 100_000, flush=True)\nos.write(1, b'x' * 1_000_000)\nos.system('echo hello')"
    )
    async with checker_of(tmp_path, bundle(files={"ops/__init__.py": code})) as checker:
        assert (await checker.check(job("noop"))).job["assets"]


async def test_what_code_starts_ends_with_the_check(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess\n"
        f"child = subprocess.Popen(['sleep', '1000'])\nopen({str(pid_file)!r}, 'w').write(str(child.pid))\n"
    )
    async with checker_of(tmp_path, bundle(files={"ops/__init__.py": code})) as checker:
        assert (await checker.check(job("noop"))).job["assets"]

    state = Path(f"/proc/{pid_file.read_text()}/stat")
    until(lambda: not state.exists() or " Z " in state.read_text(), "it has ended")


async def test_a_check_that_is_not_wanted_any_more_ends(tmp_path):
    pid_file = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    data = untried(code)
    async with checker_of(tmp_path, data) as checker, trio.open_nursery() as nursery:
        nursery.start_soon(checker.check, job("noop", assets=[id_of(data)]))
        with trio.fail_after(30):
            while not (pid_file.exists() and pid_file.read_text()):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGCONT)
