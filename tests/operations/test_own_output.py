"""A job that would read what it writes is refused, however its paths are written."""

import os
import subprocess

import pytest

from tests.support.pipelines import checked, make_runner
from tsd.errors import JobInvalid, OperationError
from tsd.operations.standard.own_output import own_output_faults


def job(source, target, *, writer="file_exporter", reader_api=False):
    """The operations and APIs of a job that reads and writes these paths."""
    source, target = {"path": str(source), "format": "raw"}, {"path": str(target), "format": "raw"}
    reader = {"_op": "file_reader", **source}
    apis = []
    if reader_api:
        reader = {"_op": "file_reader", "_api_name": "file_reader_api:in"}
        apis.append({"_name": "file_reader_api:in", **source})
    operations = [reader, "noop"]
    match writer:
        case "file_exporter":
            operations.append({"_op": writer, **target})
        case "linked":
            operations.append({"_op": "file_exporter", "_api_name": "file_sender_api:out"})
            apis.append({"_name": "file_sender_api:out", **target})
        case "routed":
            operations.append(
                {"_op": "routed_sender", "_api_name": "file_sender_api", "routing": {"**": "x"}}
            )
            apis.append({"_name": "file_sender_api", **target})
        case "letters":
            apis.append({"_name": "dead_letter_file", "path": target["path"]})
    return {"operations": operations, "apis": apis}


def refusal(parts):
    with pytest.raises(JobInvalid) as info:
        checked(*parts["operations"], apis=parts["apis"])
    return str(info.value)


@pytest.mark.parametrize("reader_api", [False, True])
@pytest.mark.parametrize("writer", ["file_exporter", "linked", "routed", "letters"])
def test_every_writer_is_compared_and_both_options_are_named(tmp_path, writer, reader_api):
    text = refusal(job(tmp_path, tmp_path / "out", writer=writer, reader_api=reader_api))

    place = "operations[2].path" if writer == "file_exporter" else f"apis[{int(reader_api)}].path"
    assert f"{place} ({tmp_path}/out) is inside" in text
    assert f"{'apis[0].path' if reader_api else 'operations[0].path'} ({tmp_path}), which is read" in text


@pytest.mark.parametrize(
    "case",
    [
        ("in", "in", "is the same as"),
        ("in", "in/", "is the same as"),
        ("in", "./in/../in/.", "is the same as"),
        ("in", "other/../in/deep/er", "is inside"),
        ("in", "in/_x=1", "is inside"),
        ("in/deep", "in", "is around"),
        ("in/file", "in", "is around"),
        ("in", "link", "is the same as"),
        ("in", "link/new/folder", "is inside"),
        ("link", "in/new", "is inside"),
        ("in", "/", "is around"),
    ],
)
@pytest.mark.parametrize("is_relative", [(False, False), (True, False), (True, True)])
def test_paths_are_compared_by_where_they_lead(tmp_path, monkeypatch, case, is_relative):
    source, target, relation = case
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "in" / "file").write_text("x\n")
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    paths = [
        path if relative else os.path.join(tmp_path, path)
        for path, relative in zip((source, target), is_relative, strict=True)
    ]

    assert f") {relation} " in refusal(job(*paths))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in", "out"),
        ("in", "in-2"),
        ("in", "in/.hidden"),
        ("in", "in/_out/x"),
        ("in/a", "in/b"),
        ("in/f", "in/g"),
    ],
)
def test_other_folders_are_allowed_and_what_the_reader_skips(tmp_path, source, target):
    for name in ("in/a", "in/b", "out"):
        (tmp_path / name).mkdir(parents=True)

    parts = job(tmp_path / source, tmp_path / target)
    assert checked(*parts["operations"], apis=parts["apis"])["operations"][0]["path"] == str(
        tmp_path / source
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_the_same_folder_through_a_mount_is_found(tmp_path):
    for name in ("in", "mounted"):
        (tmp_path / name).mkdir()
    if subprocess.run(["mount", "--bind", tmp_path / "in", tmp_path / "mounted"], check=False).returncode:
        pytest.skip("mounts are not possible here")
    try:
        assert "is inside" in refusal(job(tmp_path / "in", tmp_path / "mounted" / "out"))
    finally:
        subprocess.run(["umount", tmp_path / "mounted"], check=True)


def test_a_link_that_came_after_the_check_is_found_when_the_reader_starts(tmp_path):
    (tmp_path / "in").mkdir()
    parts = job(tmp_path / "in", tmp_path / "out")
    document = checked(*parts["operations"], apis=parts["apis"])
    (tmp_path / "out").symlink_to("in")

    (fault,) = own_output_faults(document)
    assert "operations[2].path" in fault
    with pytest.raises(JobInvalid, match="cannot read what it writes"):
        checked(*parts["operations"], apis=parts["apis"])


def test_the_slicer_asks_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tsd.operations.standard.file_reader.own_output_faults", lambda _job: iter(()))
    with pytest.raises(OperationError, match="cannot read what it writes"):
        make_runner(
            {"_op": "file_reader", "path": str(tmp_path), "format": "raw"},
            apis=[{"_name": "dead_letter_file", "path": str(tmp_path / "dead")}],
        )
