"""Files as they are in life: other line ends, marks, torn characters, bad bytes, files that change meanwhile."""

import csv
import io
import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tests.support.pipelines import make_runner
from tsd.errors import JobInvalid, NonRetryable, OperationError
from tsd.operations.config import load
from tsd.operations.standard.file_reader import FileReaderConfig

BOM = b"\xef\xbb\xbf"


def records_of(tmp_path, data, form="ldjson", **options):
    path = tmp_path / "f"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_all(source(path, form, **options))


# --- every format, at any slice size --------------------------------------------------------------

CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters='\r\n",\t', exclude_categories=["Zs", "Cc", "Zl", "Zp"]),
    max_size=6,
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.one_of(CELLS, st.just("y" * 90)), min_size=1, max_size=7),
    end=ENDS,
    is_ended=st.booleans(),
    has_bom=st.booleans(),
    has_blank_lines=st.booleans(),
    size_b=st.integers(1, 120),
)
@example(texts=["€"], end=b"\r\n", is_ended=False, has_bom=True, has_blank_lines=True, size_b=1)
def test_the_slices_of_a_file_have_the_records_of_the_whole_file(
    tmp_path, *, texts, end, is_ended, has_bom, has_blank_lines, size_b
):
    """For each format: against what was put in, and against the file as one slice."""
    kinds = {
        "ldjson": ([json.dumps({"a": t}, ensure_ascii=False) for t in texts], [{"a": t} for t in texts]),
        "raw": ([f"x{t}" for t in texts], [{"data": f"x{t}"} for t in texts]),
        "csv": (["a,b", *(f"{t},1" for t in texts)], [{"a": t, "b": "1"} for t in texts]),
        "tsv": (["a\tb", *(f'"{t}"\t1' for t in texts)], [{"a": t, "b": "1"} for t in texts]),
    }
    for form, (lines, expected) in kinds.items():
        gap = end * 2 if has_blank_lines and form != "raw" else end
        data = (BOM if has_bom else b"") + gap.join(line.encode() for line in lines) + end * is_ended
        options = {"ignore_empty": False} if form in ("csv", "tsv") else {}

        assert records_of(tmp_path, data, form, size=size_b, **options) == expected
        assert records_of(tmp_path, data, form, file_per_slice=True, **options) == expected


ROWS = st.lists(
    st.lists(st.text(st.sampled_from('ab",\n\r\0é '), max_size=5), min_size=2, max_size=2),
    min_size=1,
    max_size=6,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n"]))
def test_whole_csv_files_have_what_pythons_csv_reads_in_them(tmp_path, rows, end):
    """Quoted line breaks, quotes, nulls and blanks."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])

    found = records_of(
        tmp_path,
        out.getvalue(),
        "csv",
        file_per_slice=True,
        ignore_empty=False,
        extra_args={"trim": False},
    )
    assert found == [{"a": a, "b": b} for a, b in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=60),
    size_b=st.integers(1, 20),
    bits=st.sampled_from([b"", b'"a', b"\xff\n", b"{}\n"]),
)
def test_any_bytes_at_all_give_records_or_rejects_or_an_error_with_the_name(tmp_path, data, size_b, bits):
    for form in ("ldjson", "json", "csv", "tsv"):
        try:
            records_of(
                tmp_path, bits + data, form, rejects=[], **({} if form == "json" else {"size": size_b})
            )
        except NonRetryable as error:
            named = re.search(r"^file (.*?) can not be read: ", str(error))
            assert named is not None, error  # noqa: PT017 - it need not be raised
            assert named[1] == str(tmp_path / "f")
    rejects = []
    try:
        records = records_of(tmp_path, bits + data, "raw", rejects=rejects, size=size_b)
    except NonRetryable as error:  # a file that is known to be no text is not told line by line
        assert re.search(r"it is (compressed:|UTF-|an? )", str(error))  # noqa: PT017
        return
    *lines, last = (bits + data).removeprefix(BOM).split(b"\n")
    assert len(records) + len(rejects) == len(lines) + bool(last)


# --- line ends, marks, blank lines ----------------------------------------------------------------


@pytest.mark.parametrize("form", ["ldjson", "raw", "csv", "tsv", "json"])
@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", BOM, BOM + b"\n"])
def test_files_with_nothing_in_them_have_no_records(tmp_path, form, data):
    found = records_of(tmp_path, data, form)

    assert [record for record in found if record != {"data": ""}] == []


def test_a_header_behind_a_mark_and_blank_lines_is_found_from_every_slice(tmp_path):
    data = BOM + b"\r\n\r\nid,name\r\n" + b"".join(b"%d,x\r\n" % i for i in range(30))

    for size_b in (1, 5, 9, 1000):
        found = records_of(tmp_path, data, "csv", size=size_b)
        assert found == [{"id": str(i), "name": "x"} for i in range(30)]


def test_line_breaks_within_quotes_stay_as_they_are(tmp_path):
    data = 'a,b\r\n"1\r\n2","3\n4"\r\n5,6\r\n'

    found = records_of(tmp_path, data, "csv", file_per_slice=True)
    assert found == [{"a": "1\r\n2", "b": "3\n4"}, {"a": "5", "b": "6"}]


def test_line_breaks_within_quotes_may_go_over_pieces_of_a_large_file(tmp_path):
    long = "x\n" * 1_000_000
    found = records_of(tmp_path, f'a,b\n1,2\n"{long}",3\n4,5\n', "csv", file_per_slice=True)

    assert found == [{"a": "1", "b": "2"}, {"a": long.strip(), "b": "3"}, {"a": "4", "b": "5"}]


def test_a_header_with_line_breaks_is_read_from_whole_files_and_slices(tmp_path):
    data = '"a\nb",c\n1,2\n3,4\n'
    expected = [{"a\nb": "1", "c": "2"}, {"a\nb": "3", "c": "4"}]

    assert records_of(tmp_path, data, "csv", file_per_slice=True) == expected
    for size_b in range(1, len(data) + 1):
        assert records_of(tmp_path, data, "csv", size=size_b) == expected


@pytest.mark.parametrize("size_b", [1, 9, 14, 100])
def test_a_quote_in_the_middle_of_a_value_tears_no_row(tmp_path, size_b):
    """The second quote opens a field that goes on: an even number of them in the line, and yet torn."""
    found = records_of(tmp_path, 'a,b,c\n1,x"y,"2\n3"\n6,7,8\n', "csv", size=size_b)

    assert found == [{"a": "1", "b": 'x"y', "c": "2\n3"}, {"a": "6", "b": "7", "c": "8"}]


def test_a_quote_that_is_never_closed_is_rejected_and_what_came_before_is_kept(tmp_path):
    rejects = []
    found = records_of(tmp_path, 'a,b\n1,2\n3,"4\n5,6\n', "csv", file_per_slice=True, rejects=rejects)

    assert (found, rejects) == ([{"a": "1", "b": "2"}], [b'3,"4\n5,6\n'])


def test_delimiters_of_several_bytes_may_stand_across_any_boundary(tmp_path):
    texts = ["a", "", "b|c", "d|", "é", "e" * 30]
    data = "||".join(texts[:3]) + "|;|" + "|;|".join(texts[3:])
    expected = [{"data": text} for text in data.split("|;|")]

    for size_b in range(1, len(data.encode()) + 2):
        assert records_of(tmp_path, data, "raw", size=size_b, line_delimiter="|;|") == expected


def test_one_line_longer_than_many_slices_is_one_record(tmp_path):
    lines = ['{"a":1}', json.dumps({"a": "é" * 40_000}, ensure_ascii=False), '{"a":3}']

    for size_b in (9, 1000, 79_999, 80_009):
        if size_b > 9:
            assert len(records_of(tmp_path, "\n".join(lines), size=size_b)) == 3
    path = tmp_path / "g"
    path.write_text("x" * 500 + "\ny")
    requests = list(source(path, "raw", size=10).requests())
    assert [len(source(path, "raw", size=10).read(request)) for request in requests] == [1] + 49 * [0] + [1]


# --- bad bytes --------------------------------------------------------------------------------------


def test_bytes_that_are_no_utf8_cost_only_their_own_record(tmp_path):
    rejects = []

    assert records_of(tmp_path, b'{"a":"\xe9"}\n{"a":2}\n', rejects=rejects) == [{"a": 2}]
    assert records_of(tmp_path, b"\xe9\nok\n\xff", "raw", rejects=rejects) == [{"data": "ok"}]
    for options in ({"file_per_slice": True}, {"size": 3}):
        data = b'a,b\n\xe9,1\n2,"3"\n"x\xff",4\n'
        assert records_of(tmp_path, data, "csv", rejects=rejects, **options) == [{"a": "2", "b": "3"}]
    assert rejects == [b'{"a":"\xe9"}', b"\xe9", b"\xff", *[b"\xe9,1", b'"x\xff",4'] * 2]


def test_a_bad_byte_within_quotes_does_not_tear_the_rows_behind_it(tmp_path):
    rejects = []
    data = b'a,b\n"1\n\xff\n2",3\n4,5\n'

    assert records_of(tmp_path, data, "csv", file_per_slice=True, rejects=rejects) == [{"a": "4", "b": "5"}]
    assert rejects == [b'"1\n\xff\n2",3']


@pytest.mark.parametrize("header", [b"a\xe9,b", b"a\rx,b"])
def test_a_header_that_can_not_be_read_is_told_and_no_row_takes_its_place(tmp_path, header):
    for options in ({}, {"size": 6}, {"file_per_slice": True}):
        with pytest.raises(NonRetryable, match=r"f can not be read: (its header|the names of its columns)"):
            records_of(tmp_path, header + b"\n1,2\n3,4\n", "csv", **options)


def test_null_bytes_are_data_in_text_and_rejected_in_json(tmp_path):
    rejects = []

    assert records_of(tmp_path, b"a\0b\n\0\n", "raw") == [{"data": "a\0b"}, {"data": "\0"}]
    assert records_of(tmp_path, b"a\n1\0\n", "csv") == [{"a": "1\0"}]
    assert records_of(tmp_path, b'{"a":1}\n\0\0\0\0\n{"a":2}\n', rejects=rejects) == [{"a": 1}, {"a": 2}]
    assert rejects == [b"\0\0\0\0"]


def test_a_whole_file_that_is_no_json_is_named(tmp_path):
    for data in (b'[{"a":1},', b"\xff", b"[1] 2"):
        with pytest.raises(NonRetryable, match=f"file {tmp_path / 'f'} can not be read: it is no JSON"):
            records_of(tmp_path, data, "json")


# --- rows and columns -------------------------------------------------------------------------------


def test_short_rows_lack_fields_and_long_rows_have_numbered_ones(tmp_path):
    data = "a,b\n1\n1,2\n1,2,3,4\n"
    expected = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2", "field3": "3", "field4": "4"}]

    assert records_of(tmp_path, data, "csv") == expected
    assert records_of(tmp_path, data, "csv", ignore_empty=False) == expected


def test_no_column_takes_the_place_of_another_of_its_name(tmp_path):
    assert records_of(tmp_path, "a,field3,a,\n1,2,3,4\n", "csv") == [
        {"a": "1", "field3": "2", "field3_": "3", "field4": "4"}
    ]
    assert records_of(tmp_path, "a,field3\n1,2,3\n", "csv") == [{"a": "1", "field3": "2", "field3_": "3"}]
    with pytest.raises(JobInvalid, match="must not name a column twice"):
        source(tmp_path, "csv", fields=["a", "b", "a"])


# --- arguments of the csv parser --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        ({"quote": "'"}, "a,b\n'1,2',\"3\n", {"a": "1,2", "b": '"3'}),
        ({"quote": "off"}, 'a,b\n"1,2"\n', {"a": '"1', "b": '2"'}),
        ({"escape": "\\"}, 'a,b\n"1\\"2",3\n', {"a": '1"2', "b": "3"}),
        ({"escape": '"'}, 'a,b\n"1""2",3\n', {"a": '1"2', "b": "3"}),
        ({"delimiter": ";"}, "a;b\n1;2\n", {"a": "1", "b": "2"}),
        ({"trim": False}, "a,b\n 1,2 \n", {"a": " 1", "b": "2 "}),
        ({"ignoreEmpty": False}, "a,b\n,2\n", {"a": "", "b": "2"}),
    ],
)
@pytest.mark.parametrize("size_b", [4, 1000])
def test_arguments_of_the_csv_parser_are_honoured(tmp_path, arguments, text, expected, size_b):
    assert records_of(tmp_path, text, "csv", size=size_b, extra_args=arguments) == [expected]


def test_rows_of_another_width_are_rejected_when_they_are_to_be_checked(tmp_path):
    rejects = []
    arguments = {"checkColumn": True}

    assert records_of(tmp_path, "a,b\n1\n1,2\n1,2,3\n", "csv", extra_args=arguments, rejects=rejects) == [
        {"a": "1", "b": "2"}
    ]
    assert rejects == [b"1", b"1,2,3"]


def test_without_relax_text_behind_a_closing_quote_is_rejected(tmp_path):
    text, rejects = 'a,b\n"1"x,2\n3,4\n', []

    assert records_of(tmp_path, text, "csv") == [{"a": "1x", "b": "2"}, {"a": "3", "b": "4"}]
    found = records_of(tmp_path, text, "csv", extra_args={"relax": False}, rejects=rejects)
    assert (found, rejects) == ([{"a": "3", "b": "4"}], [b'"1"x,2'])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"headers": ["a"]}, "headers is not supported: use fields"),
        ({"colParser": {}}, "colParser is not supported: only delimiter, quote"),
        ({"quote": "ab"}, "quote: must be one character"),
        ({"delimiter": '"'}, "delimiter, quote and escape must differ|and no quote"),
        ({"quote": "'", "delimiter": "'"}, "must differ"),
        ({"trim": 7}, "trim: Invalid input"),
        ([], "expected object, received array"),
    ],
)
def test_arguments_that_can_not_be_honoured_are_refused(arguments, message):
    with pytest.raises(JobInvalid, match=message):
        load(FileReaderConfig, {"_op": "file_reader", "path": "x", "format": "csv", "extra_args": arguments})


# --- files that change or can not be read ---------------------------------------------------------


def test_a_file_that_is_gone_when_it_is_read_is_named(tmp_path):
    path = tmp_path / "f"
    path.write_text("a\nb\n")
    files = source(path, "raw", size=2)
    first, *_ = files.requests()
    path.unlink()

    with pytest.raises(OperationError, match=f"file {path} can not be read: No such file"):
        files.read(first)


def test_a_file_that_is_gone_when_its_turn_comes_is_passed_over(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("x\n")
    requests = source(tmp_path, "raw").requests()

    assert Path(next(requests)["path"]).name == "a"
    (tmp_path / "b").unlink()
    assert [Path(request["path"]).name for request in requests] == ["c"]


@pytest.mark.parametrize("options", [{"file_per_slice": True}, {"size": 4}])
def test_a_file_that_has_shrunk_is_named_and_one_that_has_grown_is_read_as_it_was(tmp_path, options):
    path = tmp_path / "f"
    path.write_text("1\n2\n3\n")
    files = source(path, "raw", **options)
    requests = list(files.requests())

    with path.open("a") as file:
        file.write("4\n")
    assert [r["data"] for request in requests for r in files.read(request)] == ["1", "2", "3"]
    os.truncate(path, 3)
    with pytest.raises(
        OperationError, match=f"file {path} has become shorter since .*: it had 6 bytes, and has 3"
    ):
        files.read(requests[-1])


def test_links_to_files_are_read_and_links_to_folders_are_not(tmp_path):
    folder, other = tmp_path / "in", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "file").write_text("x\n")
    for name, target in [("file", other / "file"), ("folder", other)]:
        (folder / name).symlink_to(target)
    (tmp_path / "link").symlink_to(folder)

    assert [request["path"] for request in source(folder, "raw").requests()] == [f"{folder}/file"]
    through = source(tmp_path / "link", "raw")
    assert [request["path"] for request in through.requests()] == [f"{tmp_path}/link/file"]
    assert read_all(through) == [{"data": "x"}]


@pytest.mark.parametrize(
    ("name", "target"), [("nothing", "/gone/for/good"), ("self", "self"), ("chain", "nothing")]
)
def test_links_that_lead_nowhere_are_named(tmp_path, name, target):
    (tmp_path / "a").write_text("x\n")
    (tmp_path / name).symlink_to(target)

    requests = source(tmp_path, "raw").requests()

    with pytest.raises(OperationError, match=f"file {tmp_path}/{name} "):
        list(requests)


@contextmanager
def as_nobody():
    """A user whom permissions apply to, also when the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_and_folders_without_permission_are_named():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "secret").write_text("x\n")
        (root / "closed").mkdir()
        (root / "secret").chmod(0)
        (root / "closed").chmod(0)
        files = source(root, "raw")
        with as_nobody():
            requests = files.requests()
            with pytest.raises(
                OperationError, match=f"file {root}/secret can not be read: Permission denied"
            ):
                files.read(next(requests))
            with pytest.raises(OperationError, match=f"folder {root}/closed can not be read: Permission"):
                next(requests)
        (root / "closed").chmod(0o700)


def test_a_name_that_is_no_utf8_is_told(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("x\n")

    with pytest.raises(OperationError, match=r"the name of file '.*\\udcff' is no UTF-8"):
        list(source(tmp_path, "raw").requests())


def test_a_relative_path_is_told_with_the_place_it_leads_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_text("x\n")

    assert read_all(source("in", "raw")) == [{"data": "x"}]
    with pytest.raises(OperationError, match=rf"path gone \({tmp_path}/gone\) does not exist"):
        make_runner({"_op": "file_reader", "path": "gone", "format": "raw"})


@pytest.mark.parametrize("path", ["~/in", "~", "~user/in", "a\0b"])
def test_paths_that_would_not_be_found_are_refused(path):
    with pytest.raises(JobInvalid, match=r"write the whole path|null characters"):
        source(path, "raw")
