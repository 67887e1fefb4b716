"""The parts of `tsd run`: its folder, what the code of the job prints, and how the end is told."""

import fcntl
import json
import os

import pytest

from tsd.cli.run_folder import KEPT_DAYS, run_folder, sweep_stale_folders
from tsd.cli.run_prints import Prints
from tsd.cli.run_report import FailedSlice, Outcome, told

DAY_S = 86_400


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def abandoned(**options):
    """The folder of a run that was killed: nobody holds its lock, nobody removed it."""
    with run_folder(None, keep=options.get("keep", False)) as folder:
        if options.get("failed"):
            folder.keep_for_a_while("the job failed")
        folder.is_kept = True
    return folder.path


def test_a_temporary_folder_goes_with_its_run():
    with run_folder(None, keep=False) as folder:
        assert folder.path.is_dir()

    assert not folder.path.exists()


def test_the_folder_of_a_failed_run_stays_for_some_days():
    with run_folder(None, keep=False) as folder:
        folder.keep_for_a_while("the job failed")
    assert folder.path.is_dir()

    now = (folder.path / "run.kept").stat().st_mtime
    sweep_stale_folders(now=now + (KEPT_DAYS - 1) * DAY_S)
    assert folder.path.is_dir()

    sweep_stale_folders(now=now + (KEPT_DAYS + 1) * DAY_S)
    assert not folder.path.exists()


def test_a_folder_that_is_wanted_stays_for_good():
    path = abandoned(keep=True)

    sweep_stale_folders(now=path.stat().st_mtime + 1000 * DAY_S)

    assert path.is_dir()


def test_a_run_removes_what_a_killed_one_has_left():
    path = abandoned()

    with run_folder(None, keep=False):
        assert not path.exists()


def test_a_folder_that_is_in_use_is_left_alone():
    path = abandoned()
    lock = os.open(path / "run.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)

    sweep_stale_folders()
    assert path.is_dir()

    os.close(lock)
    sweep_stale_folders()
    assert not path.exists()


def test_what_only_has_such_a_name_is_left_alone(temporary):
    (temporary / "tsd-run-mine").mkdir()
    (temporary / "tsd-run-file").write_text("mine")
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "run.lock").touch()
    (temporary / "tsd-run-link").symlink_to(temporary / "elsewhere")

    sweep_stale_folders(now=2**33)

    assert {path.name for path in temporary.iterdir()} == {
        "tsd-run-mine",
        "tsd-run-file",
        "tsd-run-link",
        "elsewhere",
    }


def test_a_folder_of_the_user_is_never_removed(temporary):
    with run_folder(temporary / "data", keep=False) as folder:
        assert folder.path == temporary / "data"

    assert folder.path.is_dir()


def line(text, *, level=30, msg="code.printed", **facts):
    return json.dumps({"name": "tsd", "level": level, "msg": msg, "text": text, **facts}).encode() + b"\n"


def test_prints_are_shown_as_they_come_and_nothing_else_of_the_log(temporary):
    seen = []
    log = temporary / "tsd.log"
    prints = Prints(log, lambda text, to_stderr: seen.append((text, to_stderr)))
    prints.look()

    first = line("two\nlines \x1b[1m é")
    log.write_bytes(
        line("x", msg="slice.retried") + b"no JSON code.printed\n" + b'"code.printed"\n' + first[:30]
    )
    prints.look()
    assert seen == []

    with log.open("ab") as file:
        file.write(first[30:] + line("oh", level=40))
    prints.look()
    assert seen == [("two\nlines \x1b[1m é", False), ("oh", True)]

    prints.look_to_the_end()
    assert len(seen) == 2


def test_a_field_that_no_record_has_is_told_once(temporary):
    seen = []
    log = temporary / "tsd.log"
    log.write_bytes(line("", msg="field.missing", level=40, option="partition_by", field="contry") * 2)
    Prints(log, lambda text, to_stderr: seen.append((text, to_stderr))).look_to_the_end()

    said = "warning: partition_by: no record of the first slice has the field contry; is it misspelt?"
    assert seen == [(said, True)]


def test_many_prints_come_in_several_looks(temporary):
    seen = []
    log = temporary / "tsd.log"
    log.write_bytes(b"".join(line(f"{n} " + "x" * 1000) for n in range(10_000)))
    prints = Prints(log, lambda text, _to_stderr: seen.append(int(text.split()[0])))

    assert prints.look()
    assert 0 < len(seen) < 10_000
    prints.look_to_the_end()
    assert seen == list(range(10_000))


def outcome(**changes):
    return Outcome(**{"status": "completed", "processed": 3, "failed": 0, "duration_s": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["completed: 3 slices, 0 failed, in 1 s"]),
        ({"processed": 1, "records": 1}, ["completed: 1 slice, 0 failed, in 1 s", "records read: 1"]),
        ({"records": 12_345}, ["completed: 3 slices, 0 failed, in 1 s", "records read: 12,345"]),
        ({"rejected": 2}, ["completed: 3 slices, 0 failed, in 1 s", "note: 2 records were rejected"]),
        (
            {"rejected": 1200, "rejects": ["x (operations[1]): ValueError: no\x1b\n  File y", "z"]},
            [
                "completed: 3 slices, 0 failed, in 1 s",
                "note: 1,200 records were rejected",
                "  x (operations[1]): ValueError: no\\x1b",
                "  z",
                "  and 1,198 more",
            ],
        ),
        (
            {"processed": 0},
            [
                "completed: 0 slices, 0 failed, in 1 s",
                "note: the reader found nothing to read: no slice was made",
            ],
        ),
        (
            {"status": "failed", "processed": 0, "reason": "slicer for ex 1 had an error\n  File x\n\nTraceback"},
            ["failed: no slice was run, in 1 s", "reason: slicer for ex 1 had an error\n  File x"],
        ),
        (
            {
                "status": "failed",
                "failed": 3,
                "reason": "3 failed, caused by a\n  File x",
                "errors": [FailedSlice(slice_id="s1", request='{"a":\x1b1}', error="a\n  File x\n    code\n\nTraceback")],
            },
            [
                "failed: 3 slices, 3 failed, in 1 s",
                "reason: 3 failed, caused by a",
                "  slice s1: a",
                "      File x",
                "        code",
                '    of the request {"a":\\x1b1}',
                "  and 2 more slices in error",
            ],
        ),
    ],
    ids=range(8),
)  # fmt: skip
def test_the_end_is_told(changes, lines):
    assert list(told(outcome(**changes))) == lines
