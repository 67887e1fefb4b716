"""What `make install`, `make uninstall` and `make dist` put where; tests/hosts shows that it works."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import tsd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
UNITS = {"tsd-master.service", "tsd-node.service", "tsd.target"}


def make(target, folder=ROOT, **variables):
    words = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "-C", str(folder), target, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        umask=0o077,  # as on hosts whose root keeps everything to itself
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder):
    """What is there, but for what is inside of a version of tsd."""
    found = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    }
    return {name for name in found if "/lib/tsd/" not in name or name.endswith("/lib/tsd/current")}


@pytest.mark.parametrize(
    ("prefix", "units", "snippets"),
    [
        ("/usr/local", "usr/local/lib/systemd/system", "usr/local/lib"),
        ("/opt/tsd", "etc/systemd/system", "etc"),
    ],
)
def test_a_staged_install_has_its_places_and_an_uninstall_leaves_what_is_the_operators(
    tmp_path, prefix, units, snippets
):
    config = tmp_path / "etc/tsd/tsd.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("teraslice: {name: mine}\n")
    make("install", DESTDIR=tmp_path, PREFIX=prefix)
    lib = f"{prefix.lstrip('/')}/lib/tsd"

    assert files(tmp_path) == {
        "etc/tsd/tsd.yaml",
        "etc/tsd/several-hosts.yaml",
        f"{prefix.lstrip('/')}/bin/tsd",
        f"{lib}/current",
        f"{snippets}/sysusers.d/tsd.conf",
        f"{snippets}/tmpfiles.d/tsd.conf",
        *(f"{units}/{unit}" for unit in UNITS),
    }
    assert config.read_text() == "teraslice: {name: mine}\n"
    assert f"\nExecStart=/{lib}/current/bin/tsd node\n" in (tmp_path / units / "tsd-node.service").read_text()

    # The user of the daemons reads all of it, but for the operator's file.
    made = [
        path for path in tmp_path.rglob("*") if not path.is_symlink() and path not in {config, config.parent}
    ]
    assert [path for path in made if not path.stat().st_mode & (0o005 if path.is_dir() else 0o004)] == []

    # Scripts name the place that they will be in, not the one that they were built in.
    version = (tmp_path / lib / "current").readlink().name
    assert version.startswith(f"{tsd.__version__}-")
    script = (tmp_path / lib / version / "bin/tsd").read_text()
    assert script.startswith(f"#!/{lib}/{version}/bin/python")
    assert (tmp_path / prefix.lstrip("/") / "bin/tsd").readlink() == Path(f"/{lib}/current/bin/tsd")

    make("uninstall", DESTDIR=tmp_path, PREFIX=prefix)
    assert files(tmp_path) == {"etc/tsd/tsd.yaml"}


def test_the_wheel_has_every_file_of_the_package(tmp_path):
    for name in ("Makefile", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tsd", tmp_path / "tsd", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    make("dist", tmp_path, STAMP="")
    ours = {str(path.relative_to(tmp_path)) for path in (tmp_path / "tsd").rglob("*") if path.is_file()}
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith("tsd-")}

    assert packed == {name for name in ours if "__pycache__" not in name}
    assert "tsd/store/migrations/versions/0001_first.py" in packed
