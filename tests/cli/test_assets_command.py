"""`tsd assets`: bundles are made, built, and kept in the cluster of a real master."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.bundles import id_of, operations
from tests.support.daemons import cluster_for
from tests.support.wheels import wheel
from tsd.assets.source import write_zip
from tsd.cli.main import cli
from tsd.errors import AssetInvalid

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def master(request, tmp_path_factory):
    with cluster_for(request, tmp_path_factory.mktemp("master")) as cluster:
        cluster.start_master()
        yield cluster


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tsd(*arguments, code=0, **env):
    """Run a command of `tsd assets`; what it printed."""
    done = CliRunner().invoke(cli, ["assets", *map(str, arguments)], env=env, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def facts(output):
    """What `build` prints, as word -> the rest of the line."""
    return dict(line.split(maxsplit=1) for line in output.splitlines())


def test_a_new_bundle_is_built(folder):
    tsd("init", "my_ops")
    found = facts(tsd("build", "my_ops"))

    path = folder / "my_ops/build/my_ops-1.0.0.zip"
    assert found == {
        "built": "my_ops/build/my_ops-1.0.0.zip",
        "id": id_of(path.read_bytes()),
        "size": f"{path.stat().st_size:,} bytes",
        "processor": "greet",
    }
    with zipfile.ZipFile(path) as opened:
        assert opened.namelist() == ["README.md", "asset.json", "operations/__init__.py"]


def test_the_test_of_a_new_bundle_passes(folder):
    pytest.importorskip("tsd.operations.testing", reason="the harness comes with it")
    tsd("init", "my-ops")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder / "my-ops",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_folder_with_something_in_it_is_left_alone(folder):
    (folder / "there").mkdir()
    (folder / "there/mine").write_text("x")

    assert "is there already and not empty" in tsd("init", "there", code=78)
    assert [path.name for path in (folder / "there").iterdir()] == ["mine"]
    tsd("init", "other", "--dir", "empty")
    assert (folder / "empty/asset.json").exists()


@pytest.mark.parametrize("name", ["a b", "a:b", "a/b", "*"])
def test_a_name_that_no_bundle_can_have_makes_no_folder(folder, name):
    assert "Invalid name" in tsd("init", name, code=78)
    assert list(folder.iterdir()) == []


def test_equal_files_give_an_equal_id(folder):
    """Point 38 of bundles: whenever, wherever and by whom they were made, and whatever lies beside them."""
    tsd("init", "one", "--dir", "one")
    first = facts(tsd("build", "one"))["id"]
    (folder / "two").mkdir()
    for name in ("asset.json", "README.md", "operations"):
        source = folder / "one" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / "two" / name)
    (folder / "two/asset.json").chmod(0o600)
    os.utime(folder / "two/asset.json", (1, 1))
    for name in (".git/config", "tests/test_x.py", "dist/x.whl", "operations/__pycache__/x.pyc", "old.zip"):
        (folder / "two" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "two" / name).write_text("x")
    (folder / "two/venv").mkdir()
    (folder / "two/venv/pyvenv.cfg").write_text("")

    assert facts(tsd("build", "two", "-o", "x.zip"))["id"] == first
    (folder / "two/operations/more.py").write_text("")
    assert facts(tsd("build", "two", "-o", "x.zip"))["id"] != first


def test_a_link_in_the_folder_is_told(folder):
    tsd("init", "linked")
    (folder / "linked/operations/away.py").symlink_to("/etc/passwd")

    with pytest.raises(AssetInvalid, match=r"operations/away\.py is a link or a device"):
        write_zip(folder / "linked", folder / "x.zip")
    assert "is a link or a device" in tsd("build", "linked", code=78)
    assert sorted(path.name for path in folder.iterdir()) == ["linked"]


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("asset.json", "{", "Failure parsing asset.json"),
        ("asset.json", '{"name": "a", "version": "1"}', 'Invalid version "1"'),
        (
            "operations/__init__.py",
            "\n\nimport absent_module\n",
            "in operations/__init__.py, line 3: import absent_module",
        ),
        (
            "operations/__init__.py",
            "",
            "asset.json lists the operation greet, but operations has none of this name",
        ),
        ("wheels/x-1.0.tar.gz", "x", "wheels/x-1.0.tar.gz is no wheel"),
    ],
)
def test_what_a_master_would_refuse_is_told_and_not_written(folder, file, text, words):
    tsd("init", "bad")
    path = folder / "bad" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    assert words in tsd("build", "bad", "-o", "x.zip", code=78)
    assert sorted(path.name for path in folder.iterdir()) == ["bad"]


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({}, "asset.json does not list the operation greet"),
        (
            {"greet": "operations:Other"},
            "asset.json says that greet is operations:Other, but it is operations:Greet",
        ),
        ({"greet": "operations:Greet", "more": "operations:More"}, "lists the operation more"),
        ({"greet": "Greet"}, 'operations must map each name to a text "module:Class"'),
    ],
)
def test_what_asset_json_lists_must_be_what_there_is(folder, listed, words):
    tsd("init", "listed")
    path = folder / "listed/asset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"operations": listed}))

    assert words in tsd("build", "listed", code=78)


def test_wheels_are_collected_by_pip_without_what_tsd_has(folder):
    """Point 37 of bundles. The requirements are found in a folder; nothing is fetched."""
    (folder / "found").mkdir()
    for files in (wheel("tiny", "1.5", requires=["other"]), wheel("other", "2.0", requires=["attrs"])):
        for name, data in files.items():
            (folder / "found" / Path(name).name).write_bytes(data)
    here = wheel("attrs", metadata.version("attrs"), files={})
    for name, data in here.items():
        (folder / "found" / Path(name).name).write_bytes(data)
    (folder / "requirements.txt").write_text(f"--no-index\n--find-links {folder}/found\ntiny>=1\n")
    tsd("init", "with_wheels")
    code = folder / "with_wheels/operations/__init__.py"
    code.write_text("import tiny, other\nassert tiny.VERSION == '1.5'\n" + code.read_text())
    (folder / "with_wheels/wheels").mkdir()
    (folder / "with_wheels/wheels/old-1.0-py3-none-any.whl").write_bytes(b"x")
    output = tsd("build", "with_wheels", "--wheels", "requirements.txt")

    names = sorted(path.name for path in (folder / "with_wheels/wheels").iterdir())
    assert names == ["other-2.0-py3-none-any.whl", "tiny-1.5-py3-none-any.whl"]
    assert [line.split()[1] for line in output.splitlines() if line.startswith("wheel ")] == names
    (folder / "requirements.txt").write_text(f"--no-index\n--find-links {folder}/found\nabsent\n")
    assert "pip can not collect the wheels" in tsd(
        "build", "with_wheels", "--wheels", "requirements.txt", code=78
    )
    assert len(list((folder / "with_wheels/wheels").iterdir())) == 2


def test_a_bundle_is_deployed_listed_shown_and_deleted(folder, master):
    tsd("init", "kept")
    output = tsd("deploy", "kept", "--url", master.url)
    asset_id = facts(output)["id"]

    assert f"deployed   {asset_id} at {master.url}" in output
    assert f"unchanged  {asset_id}" in tsd("deploy", "kept/build/kept-1.0.0.zip", TSD_URL=master.url)
    header, row = tsd("list", "kept", TSD_URL=master.url).splitlines()
    assert header.split() == ["name", "version", "created", "id", "operations"]
    assert row.split()[:2] + row.split()[3:] == ["kept", "1.0.0", asset_id, "greet"]
    for wanted in ("kept", "kept:1.0.0", asset_id):
        shown = tsd("show", wanted, TSD_URL=master.url)
        assert f"id:             {asset_id}\n" in shown
        assert "operations:     greet\n" in shown
    assert "has no bundle kept:2.0.0" in tsd("show", "kept:2.0.0", code=1, TSD_URL=master.url)
    assert "as in kept:1.0.0" in tsd("delete", "kept", code=2, TSD_URL=master.url)
    assert asset_id in tsd("delete", "kept:1.0.0", TSD_URL=master.url)
    assert "Unable to find asset" in tsd("delete", asset_id, code=1, TSD_URL=master.url)
    assert master.get("/assets/kept") == []


def test_another_bundle_of_the_same_version_is_replaced_on_demand(folder, master):
    tsd("init", "changed")
    first = facts(tsd("deploy", "changed", "--url", master.url))["id"]
    (folder / "changed/operations/more.py").write_text("")

    assert "please increment the version" in tsd("deploy", "changed", "--url", master.url, code=1)
    tsd("deploy", "changed", "--replace", "--url", master.url)
    (asset,) = master.get("/assets/changed")
    assert asset["id"] != first
    (folder / "changed/operations/__init__.py").write_text("1 +")
    assert "line 1: 1 +" in tsd("deploy", "changed", "--replace", "--url", master.url, code=78)
    assert master.get("/assets/changed") == [asset]


def test_a_bundle_for_other_hosts_is_not_replaced(folder, master):
    for platform in ("linux", "plan9"):
        (folder / f"{platform}.zip").write_bytes(operations("hosts", platform=platform))
        tsd("deploy", f"{platform}.zip", "--url", master.url)
    (folder / "new.zip").write_bytes(operations("hosts", platform="plan9", description="new"))
    tsd("deploy", "new.zip", "--replace", "--url", master.url)

    found = {asset["platform"]: asset.get("description") for asset in master.get("/assets/hosts")}
    assert found == {"linux": None, "plan9": "new"}


def test_what_the_master_refuses_is_told(folder, master):
    (folder / "bad.zip").write_bytes(b"no zip")

    assert "not recognized as zip" in tsd("deploy", "bad.zip", "--url", master.url, code=78)


def test_a_master_that_does_not_answer_is_told(folder):
    assert "does not answer" in tsd("list", "--url", "http://127.0.0.1:9", code=1)
