"""Writing files: connectors.md points 31, 35 to 38, and replacing the output of a slice."""

import fcntl
import gzip
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tests.support.pipelines import REGISTRY, checked, make_pipeline, run
from tsd.errors import JobInvalid, OperationError
from tsd.ids import slice_id
from tsd.operations.context import OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.standard import slice_files
from tsd.operations.standard.disk import Disk
from tsd.operations.standard.file_encode import NO_VALUE, group_by_folder
from tsd.operations.standard.slice_files import SliceFiles


def visible(root):
    """Content of all files that are not hidden, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def leftovers(root):
    return sorted(str(path) for path in (Path(root) / ".tsd" / "work").rglob("*"))


def exporter(tmp_path, form="ldjson", **options):
    spec = {
        "_op": "file_exporter",
        "path": str(tmp_path / "out"),
        "format": form,
        "durable": False,
        **options,
    }
    return make_pipeline(spec, max_retries=0)


def export(tmp_path, *records, form="ldjson", **options):
    outcome = run(exporter(tmp_path, form, **options), *records)
    assert outcome.state == "completed", outcome.error
    return visible(tmp_path / "out")


NAME = f"ex-{slice_id('ex', 0, 1)}"


def test_a_slice_becomes_one_file_named_by_execution_and_slice(tmp_path):
    """Point 36."""
    assert export(tmp_path, {"a": 1}, {"b": [2]}) == {f"{NAME}.ldjson": b'{"a":1}\n{"b":[2]}\n'}
    assert leftovers(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({"form": "raw"}, ""),
        ({"compression": "gzip"}, ".ldjson.gz"),
        ({"extension": "txt"}, ".txt"),
        ({"extension": ".txt"}, ".txt"),
        ({"extension": ""}, ""),
    ],
)
def test_the_extension_follows_format_and_compression_unless_given(tmp_path, options, suffix):
    """Point 36."""
    assert list(export(tmp_path, {"data": "x"}, **options)) == [NAME + suffix]


def test_an_empty_slice_makes_no_file(tmp_path):
    assert export(tmp_path) == {}


@pytest.mark.parametrize(
    ("form", "options", "expected"),
    [
        ("json", {}, b'[{"a":1,"b":"x,"},{"a":null,"c":true}]\n'),
        ("ldjson", {"line_delimiter": "|", "fields": ["a"]}, b'{"a":1}|{"a":null}|'),
        ("csv", {}, b'a,b,c\n1,"x,",\n,,true\n'),
        ("csv", {"include_header": False}, b'1,"x,",\n,,true\n'),
        ("csv", {"fields": ["b", "a"]}, b'"x,",1\n,\n'),
        ("csv", {"include_header": True, "fields": ["b", "a"]}, b'b,a\n"x,",1\n,\n'),
        ("tsv", {"include_header": True}, b"a\tb\tc\n1\tx,\t\n\t\ttrue\n"),
    ],
)
def test_the_formats(tmp_path, form, options, expected):
    (content,) = export(tmp_path, {"a": 1, "b": "x,"}, {"a": None, "c": True}, form=form, **options).values()

    assert content == expected


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("form", ["ldjson", "json", "csv", "tsv", "raw"])
def test_what_is_written_is_read_back(tmp_path, form, compression):
    """Point 35."""
    records = [{"data": f'é {i}, "q"'} for i in range(9)]
    export(tmp_path, *records, form=form, compression=compression, include_header=True)
    spec = {"_op": "file_reader", "path": str(tmp_path / "out"), "format": form, "compression": compression}
    reader = Pipeline(checked(spec, "noop"), REGISTRY, OpContext(), keep_records=True)
    reader.initialize()
    (path,) = (path for path in (tmp_path / "out").iterdir() if path.is_file())
    size = path.stat().st_size
    request = {"path": str(path), "offset": 0, "length": size, "total": size}

    assert reader.run(Slice.of(request)).records == records


def test_gzip_output_is_the_same_each_time(tmp_path):
    first = export(tmp_path, {"a": 1}, compression="gzip")

    assert export(tmp_path, {"a": 1}, compression="gzip") == first
    assert gzip.decompress(next(iter(first.values()))) == b'{"a":1}\n'


def test_records_that_can_not_be_written_are_rejected_alone(tmp_path):
    seen = []
    spec = {
        "_op": "file_exporter",
        "path": str(tmp_path / "out"),
        "format": "raw",
        "_dead_letter_action": "none",
    }
    pipeline = make_pipeline(spec, context=OpContext(on_reject=seen.append))

    run(pipeline, {"data": "x"}, {"data": 5}, {})

    assert list(visible(tmp_path / "out").values()) == [b"x\n"]
    assert [rejection.record for rejection in seen] == [{"data": 5}, {}]


def test_partitions_are_folders_and_odd_values_are_safe(tmp_path):
    values = ["UA", "../x", "a/b", "", None, 5, 5.5, True, "é", "x" * 400, "5"]

    files = export(tmp_path, *({"k": value} for value in values), {}, partition_by="k")

    folders = {path.split("/")[0]: content for path, content in files.items()}
    assert {path.rsplit("/", 1)[1] for path in files} == {f"{NAME}.ldjson"}
    assert all(len(path.split("/")) == 2 for path in files)
    assert folders["k=UA"] == b'{"k":"UA"}\n'
    assert {"k=..%2Fx", "k=a%2Fb", "k=5", "k=5.5", "k=true", "k=%C3%A9", f"k={NO_VALUE}"} < set(folders)
    assert folders["k=5"].count(b"\n") == 2
    assert folders[f"k={NO_VALUE}"].count(b"\n") == 3
    assert max(map(len, folders)) < 255


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.text(max_size=2)),
                "b": st.sampled_from("xy"),
            }
        )
    )
)
def test_grouping_keeps_each_record_once_under_a_folder_of_its_values(records):
    groups = group_by_folder([Record(record) for record in records], ["a", "b"])

    assert sorted(map(repr, (r for group in groups.values() for r in group))) == sorted(map(repr, records))
    for folder, group in groups.items():
        assert (
            len({(str(json.dumps(r["a"])).strip('"'), r["b"]) for r in group if r["a"] not in ("", None)})
            <= 1
        )
        assert folder.endswith(f"/b={group[0]['b']}")


def test_a_rerun_replaces_the_output_of_the_slice_and_no_other(tmp_path):
    """Point 37."""
    run(exporter(tmp_path), {"other": 1}, order=2)

    export(tmp_path, {"a": 1}, {"a": 2})
    files = export(tmp_path, {"a": 3})

    assert sorted(files.values()) == [b'{"a":3}\n', b'{"other":1}\n']
    assert list(export(tmp_path).values()) == [b'{"other":1}\n']


def test_a_rerun_with_other_partitions_leaves_nothing_stale(tmp_path):
    """Point 37."""
    export(tmp_path, {"k": 1}, {"k": 2}, partition_by="k")

    files = export(tmp_path, {"k": 2, "new": True}, {"k": 3}, partition_by=["k"])

    assert files == {f"k=2/{NAME}.ldjson": b'{"k":2,"new":true}\n', f"k=3/{NAME}.ldjson": b'{"k":3}\n'}
    assert export(tmp_path, partition_by="k") == {}


def test_a_failed_attempt_leaves_nothing_and_its_retry_writes_once(tmp_path):
    spec = {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": "ldjson"}
    failing = make_pipeline(spec, {"_op": "break", "times": 99}, max_retries=1)
    mended = make_pipeline(spec, {"_op": "break", "times": 2})

    assert run(failing, {"a": 1}).state == "error"
    assert visible(tmp_path / "out") == {}
    assert run(mended, {"a": 1}).retry_count == 2
    assert list(visible(tmp_path / "out").values()) == [b'{"a":1}\n']


def test_what_a_flush_releases_goes_to_files_of_its_own(tmp_path):
    spec = {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": "ldjson"}
    context = OpContext(worker_id="ex/1/w1.1")
    pipeline = make_pipeline({"_op": "collect", "size": 2, "wait": "1 hour"}, spec, context=context)
    run(pipeline, {"n": 1}, {"n": 2}, {"n": 3})

    pipeline.flush()

    assert visible(tmp_path / "out") == {
        f"{NAME}.ldjson": b'{"n":1}\n{"n":2}\n',
        "ex-flush-ex-1-w1.1-1.ldjson": b'{"n":3}\n',
    }


def test_what_a_flush_releases_is_kept_when_another_sink_fails(tmp_path):
    spec = {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": "ldjson"}
    pipeline = make_pipeline(
        {"_op": "collect", "size": 9, "wait": "1 hour"}, spec, {"_op": "break_completing", "times": 2}
    )
    run(pipeline, {"n": 1})
    pipeline.operations[3].attempts = 0

    assert pipeline.flush().retry_count == 2
    assert list(visible(tmp_path / "out").values()) == [b'{"n":1}\n']


def test_two_exporters_of_one_job_may_share_a_folder(tmp_path):
    spec = {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": "ldjson"}

    run(make_pipeline(spec, {"_op": "returns", "value": {"b": 1}}, spec), {"a": 1})

    assert visible(tmp_path / "out") == {
        f"{NAME}.ldjson": b'{"a":1}\n',
        f"{NAME}-operations3.ldjson": b'{"b":1}\n',
    }


def test_options_may_stand_on_the_api_and_routes_are_folders(tmp_path):
    """Point 38."""
    api = {"_name": "file_sender_api", "path": str(tmp_path / "out"), "format": "ldjson"}
    pipeline = make_pipeline({"_op": "file_exporter", "_api_name": "file_sender_api"}, apis=[api])
    pipeline.context.slice = Slice.of({}, ex_id="ex")
    pipeline.apis.get("file_sender_api").get("file_sender_api").send([Record(b=1)], "some/route")
    pipeline.context.attempt = 1

    pipeline.operations[1].on_batch([Record(a=1)])
    pipeline.apis.components[0].on_slice_completing("id")

    assert visible(tmp_path / "out") == {
        f"{NAME}.ldjson": b'{"a":1}\n',
        f"some/route/{NAME}.ldjson": b'{"b":1}\n',
    }
    assert run(pipeline, {"a": 2}).state == "completed"
    assert visible(tmp_path / "out") == {f"{NAME}.ldjson": b'{"a":2}\n'}


def test_a_folder_that_can_not_be_made_is_told_at_the_start(tmp_path):
    (tmp_path / "out").write_text("a file")

    with pytest.raises(OperationError, match="out can not be written"):
        exporter(tmp_path)


def test_the_writer_needs_a_path_and_a_format():
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", "file_exporter")
    assert [path for path, _ in info.value.faults] == ["operations[1].path", "operations[1].format"]


# --- crashes ------------------------------------------------------------------------------------


class PowerCutError(BaseException):
    """Ends an attempt where it is, as a killed process does."""


def commit_until(root, steps, key, files, **options):
    """Commit, and die before file system step number `steps`; True when it came to its end."""
    left = [steps]
    real = {name: getattr(slice_files, name) for name in ("_move", "_clear")}
    real_methods = {name: getattr(Path, name) for name in ("write_bytes", "unlink", "replace", "mkdir")}

    def dying(function):
        def step(*args, **kwargs):
            if left[0] == 0:
                raise PowerCutError
            left[0] -= 1
            return function(*args, **kwargs)

        return step

    keeper = pytest.MonkeyPatch()
    try:
        for name, function in real.items():
            keeper.setattr(slice_files, name, dying(function))
        for name, function in real_methods.items():
            keeper.setattr(Path, name, dying(function))
        keeper.setattr(Disk, "sync", dying(Disk.sync))
        SliceFiles(root).commit(key, files, **options)
    except PowerCutError:
        return False
    finally:
        keeper.undo()
    return True


OLD = {"k=1/f": b"old 1", "k=2/f": b"old 2"}
NEW = {"k=2/f": b"new 2", "k=3/f": b"new 3"}


def crash_points(tmp_path, old, new, **options):
    """A folder for each step at which the second commit died; the last came to its end."""
    for steps in range(100):
        root = tmp_path / str(steps)
        root.mkdir()
        files = SliceFiles(root)
        files.prepare()
        files.commit("key", old, **options)
        is_done = commit_until(root, steps, "key", new, **options)
        yield root, is_done
        if is_done:
            return
    raise AssertionError("the commit never came to its end")


def test_a_rerun_after_a_crash_at_any_step_leaves_only_its_own_output(tmp_path):
    count = 0
    for root, _ in crash_points(tmp_path, OLD, NEW):
        SliceFiles(root).commit("key", {"k=4/f": b"last"})

        assert visible(root) == {"k=4/f": b"last"}
        assert leftovers(root) == []
        count += 1
    assert count > 12


def test_after_a_crash_at_any_step_recovery_leaves_one_whole_output(tmp_path):
    seen = []
    for root, is_done in crash_points(tmp_path, OLD, NEW):
        SliceFiles(root).prepare()

        assert visible(root) in (OLD, NEW)
        assert leftovers(root) == []
        assert not is_done or visible(root) == NEW
        seen.append(visible(root) == NEW)
    assert seen == sorted(seen), "once decided, always decided"


def test_no_crash_shows_half_a_file(tmp_path):
    for root, _ in crash_points(tmp_path, OLD, NEW):
        assert set(visible(root).values()) <= {*OLD.values(), *NEW.values()}


def test_a_slice_with_one_name_is_whole_after_a_crash_at_any_step(tmp_path):
    for root, is_done in crash_points(tmp_path, {"f": b"old"}, {"f": b"new"}, only_file="f"):
        assert visible(root)["f"] == b"new" if is_done else visible(root)["f"] in (b"old", b"new")
        SliceFiles(root).prepare()
        assert leftovers(root) == []
        SliceFiles(root).commit("key", {}, only_file="f")
        assert visible(root) == {}


def test_attempts_of_one_slice_take_turns(tmp_path):
    """Two attempts at the same time end with the whole output of one of them."""
    SliceFiles(tmp_path).prepare()
    outputs = [{f"k={i}/f": b"%d" % n, f"k={i + 1}/f": b"%d" % n} for n, i in enumerate(range(4))]
    failures = []

    def attempt(output):
        try:
            for _ in range(20):
                SliceFiles(tmp_path, is_durable=False, sleep=lambda _s: None).commit("key", output)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=attempt, args=(output,)) for output in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert visible(tmp_path) in outputs
    assert leftovers(tmp_path) == []


def test_recovery_leaves_a_living_attempt_alone_and_a_rerun_gives_up_at_last(tmp_path, monkeypatch):
    files = SliceFiles(tmp_path, sleep=lambda _s: None)
    files.prepare()
    work = tmp_path / ".tsd" / "work" / "key"
    work.mkdir()
    (work / "abc.0").write_text("in work")
    fd = os.open(work / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        files.recover()
        assert (work / "abc.0").exists()
        monkeypatch.setattr(slice_files, "_LOCK_WAIT_S", 0.0)
        with pytest.raises(OperationError, match="another attempt of slice key"):
            files.commit("key", {"f": b"x"})
    finally:
        os.close(fd)

    files.commit("key", {"f": b"x"})
    assert visible(tmp_path) == {"f": b"x"}


# --- attempts that fail -------------------------------------------------------------------------


def test_names_of_partitions_are_never_hidden(tmp_path):
    """A reader, ours or one of Hive tables, would skip folders that begin with a dot or `_`."""
    files = export(tmp_path, {".hid": 1, "_x": "2"}, partition_by=[".hid", "_x"])

    assert list(files) == [f"%2Ehid=1/%5Fx=2/{NAME}.ldjson"]
    assert read_all(source(tmp_path / "out")) == [{".hid": 1, "_x": "2"}]


@pytest.mark.parametrize("form", ["ldjson", "json", "csv"])
def test_bookkeeping_is_not_named_as_data(tmp_path, form):
    export(tmp_path, {"k": 1}, {"k": 2}, partition_by="k", form=form)

    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".tsd" in path.parts]
    assert [path.suffix for path in found] == [".tsd-manifest"]
    assert len(list((tmp_path / "out").glob(f"**/*.{form}"))) == 2


def test_a_manifest_under_its_earlier_name_is_followed_and_replaced(tmp_path):
    files = SliceFiles(tmp_path)
    files.prepare()
    files.commit("key", OLD)
    manifests = tmp_path / ".tsd" / "slices"
    (manifests / "key.tsd-manifest").rename(manifests / "key.json")

    files.commit("key", NEW)

    assert visible(tmp_path) == NEW
    assert [path.name for path in manifests.iterdir()] == ["key.tsd-manifest"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_has_room_again_when_the_attempt_has_failed(small_disk):
    files = SliceFiles(small_disk / "out")
    files.prepare()

    with pytest.raises(
        OperationError, match=rf"file {small_disk}/out/a/large cannot be written: No space left"
    ):
        files.commit("large", {"a/small": b"x", "a/large": b"x" * 1_600_000})

    assert [path.name for path in (small_disk / "out").iterdir()] == [".tsd"]
    assert leftovers(small_disk / "out") == []
    for i in range(5):
        files.commit(str(i), {f"a/{i}": b"x" * 55_000})
    assert len(visible(small_disk / "out")) == 5


def test_what_a_killed_attempt_left_makes_room_when_the_disk_is_full(small_disk):
    files = SliceFiles(small_disk)
    files.prepare()
    dead = small_disk / ".tsd" / "work" / "dead"
    dead.mkdir()
    (dead / "abc.0").write_bytes(b"x" * 900_000)

    with pytest.raises(OperationError, match="No space left"):
        files.commit("key", {"f": b"x" * 300_000})
    files.commit("key", {"f": b"x" * 300_000}, only_file="f")

    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["f"]


def test_an_attempt_that_fails_takes_along_the_folders_that_it_made_and_no_others(tmp_path):
    files = SliceFiles(tmp_path)
    files.prepare()
    files.commit("first", {"k=1/f": b"x"})
    (tmp_path / "k=2").write_text("a file where a folder has to be")

    with pytest.raises(OperationError, match=f"file {tmp_path}/k=2"):
        files.commit("second", {"k=1/j=1/g": b"y", "k=2/g": b"y"})

    assert leftovers(tmp_path) == []
    assert [path.name for path in (tmp_path / "k=1").iterdir()] == ["f"]


# --- columns of tables ----------------------------------------------------------------------------

DIFFERENT = ([{"a": 1, "b": 2}], [{"b": 3, "c": 4}], [{"c": 5, "a": 6}, {"b": 7}])


def table(tmp_path, form="csv", *, ex_id="ex", context=None, **options):
    """A pipeline that writes tables; its execution has this id."""
    spec = {"_op": "file_exporter", "path": str(tmp_path / "out"), "format": form, **options}
    job = checked("list_reader", spec, max_retries=0) | {"ex_id": ex_id}
    pipeline = Pipeline(job, REGISTRY, context or OpContext(execution=job), keep_records=True)
    pipeline.initialize()
    return pipeline


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_each_file_of_a_table_without_fields_says_what_its_columns_are(tmp_path, form):
    """Slices whose records have other fields: no value can be taken for one of another column."""
    for i, records in enumerate(DIFFERENT):
        assert run(table(tmp_path, form), *records, order=i + 1).state == "completed"

    read = read_all(source(tmp_path / "out", form))
    expected = [{name: str(value) for name, value in record.items()} for r in DIFFERENT for record in r]
    assert sorted(map(repr, map(sorted, map(dict.items, read)))) == sorted(
        map(repr, map(sorted, map(dict.items, expected)))
    )


def test_files_without_header_and_fields_share_the_columns_of_the_first(tmp_path):
    first, second = table(tmp_path, include_header=False), table(tmp_path, include_header=False)
    run(first, {"a": 1, "b": 2})

    assert run(second, {"b": 4}, {"b": 6, "a": 5}, order=2).state == "completed"
    outcome = run(second, {"a": 1, "c": 2}, order=3)

    assert outcome.state == "error"
    assert "the record has the fields c, which are no columns of this output" in outcome.error
    assert sorted(visible(tmp_path / "out").values()) == [b",4\n5,6\n", b"1,2\n"]


def test_a_record_with_other_columns_is_rejected_alone(tmp_path):
    seen = []
    pipeline = table(
        tmp_path, include_header=False, _dead_letter_action="none", context=OpContext(on_reject=seen.append)
    )
    run(pipeline, {"a": 1})

    assert run(pipeline, {"a": 2}, {"z": 3}, order=2).state == "completed"
    assert [rejection.record for rejection in seen] == [{"z": 3}]
    assert sorted(visible(tmp_path / "out").values()) == [b"1\n", b"2\n"]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"fields": ["a", "b"]}, {"fields": ["b", "a"]}),
        ({"fields": ["a", "b"]}, {"fields": ["a"]}),
        ({"include_header": False}, {"fields": ["b", "a"]}),
        ({"include_header": False}, {"fields": ["b", "a"], "include_header": False}),
    ],
)
def test_files_without_header_go_on_with_the_same_fields_only(tmp_path, before, now):
    """Fields that were changed between a stop and a recovery."""
    assert run(table(tmp_path, **before), {"a": 1, "b": 2}).state == "completed"
    outcome = run(table(tmp_path, **now, _dead_letter_action="none"), {"a": 3, "b": 4}, order=2)

    assert outcome.state == "error"
    assert "have no header, and the columns a, b; fields now has" in outcome.error
    assert list(visible(tmp_path / "out").values()) == [b"1,2\n"]


def test_files_without_header_go_on_when_fields_name_the_columns_that_they_have(tmp_path):
    run(table(tmp_path, include_header=False), {"a": 1, "b": 2})
    named = table(tmp_path, fields=["a", "b"])

    assert [run(named, {"b": n}, order=n).state for n in (2, 3)] == ["completed", "completed"]
    assert sorted(visible(tmp_path / "out").values()) == [b",2\n", b",3\n", b"1,2\n"]


def test_files_with_a_header_may_go_on_with_other_fields(tmp_path):
    run(table(tmp_path, fields=["a", "b"], include_header=True), {"a": 1, "b": 2})

    changed = table(tmp_path, fields=["b", "a"], include_header=True)
    assert run(changed, {"a": 3, "b": 4}, order=2).state == "completed"


def test_the_columns_of_an_execution_last_for_its_recoveries_and_not_for_the_next(tmp_path):
    files = SliceFiles(tmp_path)
    files.prepare()

    assert files.agree("columns", "first", []) == []
    assert files.agree("columns", "first", ["a", "b"]) == ["a", "b"]
    files.begin("first", is_whole=True, is_new=True)
    files.begin("recovery", is_whole=True, is_new=False)
    assert files.agree("columns", "recovery", ["c"]) == ["a", "b"]
    files.begin("next", is_whole=True, is_new=True)
    assert files.agree("columns", "next", ["c"]) == ["c"]
    assert leftovers(tmp_path) == []


def test_slices_that_decide_at_the_same_time_agree(tmp_path):
    SliceFiles(tmp_path).prepare()
    decided = []

    def decide(word):
        decided.append(SliceFiles(tmp_path, sleep=lambda _s: None).agree("columns", "ex", [word]))

    threads = [threading.Thread(target=decide, args=(f"word{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (len(decided), len({*map(tuple, decided)})) == (8, 1)
