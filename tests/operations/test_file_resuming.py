"""Going on with files that changed meanwhile: exactly what the rules of `tsd.operations.resuming` say, or a refusal."""

import json
import os
import tempfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.files import source
from tests.support.pipelines import make_runner
from tsd.errors import CannotResume, OperationError, SourceChanged
from tsd.operations.resuming import ORIGIN_KEY, Passed
from tsd.operations.slicers import RecoveryEntry
from tsd.operations.standard import file_identity

EOL = {"raw": "\n", "ldjson": "\n", "csv": "\r\n"}


def content(form, texts):
    lines = [json.dumps({"data": text}) if form == "ldjson" else text for text in texts]
    return "".join(line + EOL[form] for line in (["data", *lines] if form == "csv" else lines)).encode()


def reader(root, form, **options):
    return source(root, form, **({"line_delimiter": EOL[form]} if form == "csv" else {}), **options)


def texts_of(records):
    return [record["data"] for record in records]


def write_anew(path, data):
    """As `mv` does: another inode."""
    new = path.with_name(".new")
    new.write_bytes(data)
    new.replace(path)


# --- any change at any place -----------------------------------------------------------------------

TEXTS = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=9)
NAMES = ("a", "b", "c", "d/a", "d/b", "e/a")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["append", "replace", "rewrite", "cut", "delete", "new", "touch"]),
        st.sampled_from(NAMES),
        TEXTS,
    ),
    max_size=3,
)


def change(root, form, kind, name, texts):
    path = root / name
    if kind == "new" or not path.exists():
        if kind == "new" and not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content(form, texts))
        return
    lines = content(form, texts)
    match kind:
        case "append":
            with path.open("ab") as file:
                file.write(lines)
        case "replace":
            write_anew(path, lines)
        case "rewrite":
            path.write_bytes(lines)
        case "cut":
            kept = path.read_bytes().splitlines(keepends=True)[:2]
            os.truncate(path, len(b"".join(kept)))
        case "delete":
            path.unlink()
        case "touch":
            path.touch()


def walk_order(names):
    return sorted(names, key=lambda name: (name.count("/"), name.split("/")[:-1], name))


@settings(max_examples=300, deadline=None)
@given(
    files=st.dictionaries(st.sampled_from(NAMES), TEXTS, min_size=1),
    form=st.sampled_from(["raw", "ldjson", "csv"]),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    changes=CHANGES,
    data=st.data(),
)
def test_a_recovery_reads_what_an_undisturbed_run_would_have_read_or_is_refused(
    files, form, sizes, changes, data
):
    """The expectation is made of lines, without slices or offsets."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, texts in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(content(form, texts))
        before = {name: (root / name).read_bytes() for name in files}
        inodes = {name: (root / name).stat().st_ino for name in files}
        walk = reader(root, form, size=sizes[0]).requests()
        count = data.draw(st.integers(1, 12))
        recorded = [json.loads(json.dumps(request)) for request in islice(walk, count)]
        unfinished = data.draw(st.sets(st.integers(0, len(recorded) - 1)))
        first = reader(root, form, size=sizes[0])
        done = {i: texts_of(first.read(request)) for i, request in enumerate(recorded) if i not in unfinished}

        for kind, name, texts in changes:
            change(root, form, kind, name, texts)

        last = recorded[-1]
        reached = os.path.relpath(last["path"], root)
        now = [name for name in NAMES if (root / name).exists()]
        passed = walk_order(files)[: walk_order(files).index(reached) + 1]
        later = walk_order(now)
        later = [name for name in later if name not in passed and walk_order([name, reached])[0] == reached]

        def is_as_it_was(name):
            if not (root / name).exists() or (root / name).stat().st_ino != inodes[name]:
                return False
            return (root / name).read_bytes().startswith(before[name])

        def is_half_read():
            return last["offset"] + last["length"] < last["total"]

        again = reader(root, form, size=sizes[1])
        try:
            rest = [text for request in again.requests(last) for text in texts_of(again.read(request))]
            for i in sorted(unfinished):
                done[i] = texts_of(again.read(recorded[i]))
        except CannotResume:
            others = walk_order([*now, reached])
            is_changed_before = [
                name for name in others[: others.index(reached)] if name != reached
            ] != passed[:-1]
            assert is_changed_before or (is_half_read() and not is_as_it_was(reached))
        except OperationError:
            touched = {os.path.relpath(recorded[i]["path"], root) for i in unfinished}
            assert not all(is_as_it_was(name) for name in touched)
        else:
            expected = [text for name in passed for text in files[name]]
            for name in later:
                lines = (root / name).read_bytes().decode().split(EOL[form])
                lines = [line for line in (lines[1:] if form == "csv" else lines) if line]
                expected += [json.loads(line)["data"] if form == "ldjson" else line for line in lines]
            assert [text for i in sorted(done) for text in done[i]] + rest == expected


# --- each kind of change by itself -----------------------------------------------------------------


def half_read(tmp_path, lines=100, size=130, form="raw"):
    """A file, and the last request of a run that read half of it."""
    path = tmp_path / "f"
    path.write_bytes(content(form, [f"old{i:06}" for i in range(lines)]))
    requests = list(reader(tmp_path, form, size=size).requests())
    return path, requests[len(requests) // 2]


def go_on(tmp_path, last, form="raw", **options):
    files = reader(tmp_path, form, **options)
    return [text for request in files.requests(last) for text in texts_of(files.read(request))]


def test_a_file_that_has_grown_is_read_to_the_end_that_it_had(tmp_path):
    path, last = half_read(tmp_path, lines=250, size=1300)
    with path.open("ab") as file:
        file.write(content("raw", [f"new{i:06}" for i in range(150)]))

    read_before = (last["offset"] + last["length"]) // 10
    assert go_on(tmp_path, last, size=1300) == [f"old{i:06}" for i in range(read_before, 250)]


@pytest.mark.parametrize("size", [1, 7, 10, 11, 64, 129, 131, 999, 10_000])
def test_another_size_of_slices_loses_and_doubles_nothing(tmp_path, size):
    _, last = half_read(tmp_path)

    assert go_on(tmp_path, last, size=size) == [
        f"old{i:06}" for i in range((last["offset"] + last["length"]) // 10, 100)
    ]


@pytest.mark.parametrize("lines", [100, 40, 160, 20_000])
@pytest.mark.parametrize("write", [write_anew, Path.write_bytes], ids=["replaced", "rewritten"])
@pytest.mark.parametrize("lines_before", [100, 20_000])
def test_a_file_with_other_content_is_refused_by_slicer_and_fetcher(tmp_path, write, lines, lines_before):
    path, last = half_read(tmp_path, lines_before)
    write(path, content("raw", [f"new{i:06}" for i in range(lines)]))

    with pytest.raises(CannotResume, match=f"file {path} .*start the job anew"):
        go_on(tmp_path, last)
    with pytest.raises(SourceChanged, match=f"file {path} "):
        reader(tmp_path, "raw").read(last)


def test_a_long_file_that_was_written_to_in_its_middle_is_refused(tmp_path):
    path, last = half_read(tmp_path, lines=200_000, size=100_000)
    os.utime(path, (1, 1))
    requests = reader(tmp_path, "raw", size=100_000).requests()
    old = next(request for request in requests if request["offset"] == last["offset"])
    with path.open("r+b") as file:
        file.seek(1_234_560)
        file.write(b"NEW")

    with pytest.raises(CannotResume, match="not only at its end"):
        go_on(tmp_path, old)


def test_an_equally_long_file_that_keeps_the_time_of_the_old_one_is_refused(tmp_path):
    path, last = half_read(tmp_path)
    times = path.stat()
    write_anew(path, path.read_bytes().replace(b"old", b"new"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(CannotResume, match="replaced"):
        go_on(tmp_path, last)


def test_the_same_file_under_another_inode_is_read(tmp_path):
    """As on another host, where the same files were copied with their times."""
    path, last = half_read(tmp_path)
    times = path.stat()
    write_anew(path, path.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert go_on(tmp_path, last)[-1] == "old000099"


def test_a_touched_short_file_is_the_same(tmp_path):
    path, last = half_read(tmp_path)
    os.utime(path)

    assert go_on(tmp_path, last)[-1] == "old000099"


def test_a_file_that_is_gone_is_refused_when_it_was_half_read_and_no_loss_when_it_was_read(tmp_path):
    path, last = half_read(tmp_path)
    *_, end = reader(tmp_path, "raw").requests()
    path.unlink()

    with pytest.raises(CannotResume, match="bytes were cut into slices"):
        go_on(tmp_path, last)
    assert go_on(tmp_path, end) == []


@pytest.mark.parametrize("name", ["e", "a/x"])
def test_files_that_came_behind_the_place_are_read_and_before_it_are_refused(tmp_path, name):
    (tmp_path / "b").mkdir()
    path, last = half_read(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "z").write_text("behind\n")
    last["path"], last[ORIGIN_KEY]["passed"] = str(path), Passed().text

    assert go_on(tmp_path, last)[-1] == "behind"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("before\n")
    with pytest.raises(CannotResume, match=f"what stands before file {path} .* 0 when .* 1 now"):
        go_on(tmp_path, last)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"line_delimiter": "\r"}, ["line_delimiter (it was not set, and is '\\r')"]),
        ({"file_per_slice": True}, ["file_per_slice (it was not set, and is true)"]),
        ({"compression": "gzip"}, ["compression"]),
    ],
)
def test_options_that_move_records_are_refused_by_name(tmp_path, options, names):
    _, last = half_read(tmp_path)

    with pytest.raises(CannotResume) as info:
        go_on(tmp_path, last, **options)
    assert all(name in str(info.value) for name in names)
    with pytest.raises(CannotResume, match=r"format \(it was 'raw', and is 'csv'\)"):
        list(source(tmp_path, "csv").requests(last))


def test_another_path_is_refused(tmp_path):
    _, last = half_read(tmp_path)
    other = tmp_path / "other"
    other.mkdir()

    with pytest.raises(
        CannotResume, match=f"last slice is one of file {tmp_path}/f, and the reader now reads"
    ):
        go_on(other, last)


def test_a_request_of_an_earlier_version_is_read_and_not_gone_on_after(tmp_path):
    _, last = half_read(tmp_path)
    del last[ORIGIN_KEY]

    assert len(reader(tmp_path, "raw").read(last)) == 13
    with pytest.raises(CannotResume, match="earlier version of tsd"):
        go_on(tmp_path, last)


def test_a_refusal_fails_the_start_of_the_slicer(tmp_path):
    path, last = half_read(tmp_path)
    write_anew(path, b"new\n")
    entry = RecoveryEntry(slicer_id=0, last_slice=last, slicer_order=1)

    with pytest.raises(CannotResume, match="replaced"):
        make_runner({"_op": "file_reader", "path": str(tmp_path), "format": "raw"}, recovery=[entry])


def test_a_file_that_changes_while_it_is_read_is_named_whatever_the_parser_says(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(content("ldjson", ["x"] * 50))
    files = reader(tmp_path, "ldjson")
    (request,) = files.requests()
    records = files._records

    def replaced_meanwhile(file, request):
        path.write_bytes(b"{" * path.stat().st_size)
        return records(file, request)

    monkeypatch.setattr(files, "_records", replaced_meanwhile)

    with pytest.raises(SourceChanged, match=f"file {path} was written to"):
        files.read(request)


def test_the_header_of_a_file_that_took_the_place_of_another_is_its_own(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("id,a\n1,2\n3,4\n")
    files = source(path, "csv", size=6)
    assert [dict(r) for request in files.requests() for r in files.read(request)][-1] == {"id": "3", "a": "4"}
    write_anew(path, b"a,id\n1,2\n3,4\n")

    assert [dict(r) for request in files.requests() for r in files.read(request)][-1] == {"a": "3", "id": "4"}


def test_a_file_that_may_not_be_opened_is_listed_and_is_the_same_when_it_may(tmp_path):
    path = tmp_path / "f"
    path.write_text("x\n")
    size, version = file_identity.describe_closed(path.stat())
    with path.open("rb") as file:
        file_identity.verify(file.fileno(), str(path), size, version)
    path.write_text("y\n")
    os.utime(path, (1, 1))
    with path.open("rb") as file, pytest.raises(SourceChanged):
        file_identity.verify(file.fileno(), str(path), size, version)


def test_the_sample_of_a_file_that_is_the_same_is_taken_once_it_is_old(tmp_path, monkeypatch):
    """Not for each slice; and again when the file has changed."""
    path, last = half_read(tmp_path, lines=1_000)
    samples = []
    sample = file_identity._sample
    monkeypatch.setattr(file_identity, "_sample", lambda *args: samples.append(1) or sample(*args))
    files = reader(tmp_path, "raw", size=130)
    times = path.stat()

    files.read(last)
    files.read(last)
    assert len(samples) == 4
    monkeypatch.setattr(file_identity, "_NEWEST_TRUSTED_NS", 0)
    for _ in range(20):
        files.read(last)
    assert len(samples) == 5
    while path.stat().st_ctime_ns == times.st_ctime_ns:
        path.write_bytes(content("raw", ["XXXXXXXXX"] * 1_000))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(SourceChanged):
        files.read(last)


@pytest.mark.parametrize(
    ("form", "options"),
    [("ldjson", {}), ("raw", {"line_delimiter": "\r"}), ("raw", {"compression": "gzip"}), ("csv", {})],
)
def test_slices_that_run_again_under_options_that_move_records_are_refused(tmp_path, form, options):
    """A recovery runs them before its slicer can say so."""
    _, last = half_read(tmp_path)

    with pytest.raises(SourceChanged, match=r"a slice of file .* cannot be read: .*it was"):
        source(tmp_path, form, **options).read(last)
    assert len(source(tmp_path, "raw", size=1, max_decompressed=5).read(last)) == 13
