"""Reading files in slices of bytes: connectors.md points 29 to 35."""

import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.pipelines import REGISTRY, checked, make_runner
from tsd.errors import JobInvalid, OperationError
from tsd.operations.config import load
from tsd.operations.context import OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.resuming import ORIGIN_KEY
from tsd.operations.slice import Slice
from tsd.operations.slicers import RecoveryEntry
from tsd.operations.standard.byte_slices import cut, read_slice
from tsd.operations.standard.disk_storage import DiskFile, DiskStorage
from tsd.operations.standard.file_reader import FileReaderConfig
from tsd.operations.standard.file_source import FileSource
from tsd.operations.standard.file_walk import walk, walk_key


class Rejected(Exception):
    pass


def source(path, form="ldjson", rejects=None, **options):
    def reject(record, error):
        if rejects is None:
            raise Rejected(record) from error
        rejects.append(record)

    config, _ = load(FileReaderConfig, {"_op": "file_reader", "path": str(path), "format": form, **options})
    return FileSource(config, reject, DiskStorage())


def read_all(files):
    return [dict(record) for request in files.requests() for record in files.read(request)]


def slices(total_b, size_b, delimiter_b=1):
    return list(cut(total_b, size_b, delimiter_b))


def test_the_offsets_are_those_of_teraslice():
    """Point 29."""
    assert slices(1000, 300) == [(0, 300), (299, 301), (599, 301), (899, 101)]
    assert slices(600, 300) == [(0, 300), (299, 301)]
    assert slices(600, 300, 2) == [(0, 300), (298, 302)]
    assert (slices(0, 300), slices(299, 300), slices(300, 300)) == ([], [(0, 299)], [(0, 300)])


RECORDS = st.lists(
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12), min_size=1, max_size=8
)


def read_sliced(data, size_b, delimiter):
    """All records of all slices, as bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        pieces = [
            read_slice(DiskFile(file.fileno(), file.name), offset, length, len(data), delimiter)
            for offset, length in cut(len(data), size_b, len(delimiter))
        ]
    return [record for piece in pieces if piece for record in piece.removesuffix(delimiter).split(delimiter)]


@settings(max_examples=150, deadline=None)
@given(
    texts=RECORDS,
    delimiter=st.sampled_from(["\n", "\r\n", "|;|x", "é\n"]),
    is_ended=st.booleans(),
    data=st.data(),
)
def test_for_every_slice_size_the_slices_hold_each_record_once_and_in_order(texts, delimiter, is_ended, data):
    """Point 30: ascii, characters of several bytes, CRLF, no delimiter at the end, records longer than a slice."""
    if delimiter == "|;|x":
        texts = [text.replace("|", "") for text in texts]
    if not is_ended and texts[-1] == "":
        texts[-1] = "x"
    whole = (delimiter.join(texts) + (delimiter if is_ended else "")).encode()
    expected = [text.encode() for text in texts]
    size_b = data.draw(st.integers(1, len(whole) + 2))

    assert read_sliced(whole, size_b, delimiter.encode()) == expected


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"<>|"])
@pytest.mark.parametrize("is_ended", [True, False])
def test_all_slice_sizes_of_one_file(delimiter, is_ended):
    """Point 30."""
    records = [b"a", "äöü€𝄞".encode(), b"", b"x" * 40, b"1234567", b"z"]
    whole = delimiter.join(records) + (delimiter if is_ended else b"")

    for size_b in range(1, len(whole) + 2):
        assert read_sliced(whole, size_b, delimiter) == records, size_b


def test_a_record_much_longer_than_a_margin_is_read_once():
    records = [b"a" * 100_000, b"b", b"c" * 5_000_000, b"d"]

    for size_b in (10, 70_000, 99_999, 100_000, 100_001, 4_000_000):
        if size_b > 10:
            assert read_sliced(b"\r\n".join(records), size_b, b"\r\n") == records
    assert read_sliced(b"\n".join(records[:2]), 1000, b"\n") == records[:2]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=RECORDS, eol=st.sampled_from(["\n", "\r\n"]), size_b=st.integers(1, 60), has_bom=st.booleans())
@example(texts=["", "a", ""], eol="\n", size_b=1, has_bom=False)
def test_every_format_gives_each_record_once_at_any_slice_size(tmp_path, texts, eol, size_b, has_bom):
    """Point 30 through the whole reader, with and without a byte order mark."""
    path = tmp_path / "file"
    bom = "\ufeff" if has_bom else ""

    lines = [json.dumps({"t": text}, ensure_ascii=False) for text in texts]
    path.write_bytes((bom + eol.join([*lines, ""])).encode())
    assert read_all(source(path, size=size_b)) == [{"t": text} for text in texts]

    path.write_bytes((bom + eol.join([*texts, ""])).encode())
    expected = [{"data": text} for text in texts]
    assert read_all(source(path, "raw", size=size_b)) == expected

    cells = [text.strip().replace('"', "").replace(",", "") or "x" for text in texts]
    rows = [f"{i},{cell}" for i, cell in enumerate(cells)]
    path.write_bytes((bom + eol.join(["id,name", *rows])).encode())
    assert [record["id"] for record in read_all(source(path, "csv", size=size_b))] == [
        str(i) for i in range(len(rows))
    ]


def test_a_slice_knows_where_it_came_from(tmp_path):
    """Point 32."""
    path = tmp_path / "f.ldjson"
    path.write_text('{"a":1}\n{"a":2}\n')
    files = source(path, size=8)
    _, second = files.requests()

    (record,) = files.read(second)

    place = {name: record.get_metadata(name) for name in ("path", "offset", "length", "total")}
    assert place == {name: value for name, value in second.items() if name != ORIGIN_KEY}
    assert (second["offset"], second["total"], record.get_process_time()) == (7, 16, record.get_create_time())


def test_folders_are_walked_breadth_first_by_name_and_hidden_names_are_skipped(tmp_path):
    """Point 33."""
    names = ["b/z.txt", "b/a/y.txt", "a/x.txt", "c.txt", ".hidden/h.txt", "a/.h", "B.txt", "a-b/w.txt"]
    for name in [*names, "_SUCCESS", "b/_committed_1", "_temporary/0/part", "_x=1/p.txt", "_x=1/_meta"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "nothing.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path)

    names = [os.path.relpath(path, tmp_path) for path in walk(str(tmp_path))]

    assert names == [
        "B.txt",
        "c.txt",
        "_x=1/p.txt",
        "a/nothing.txt",
        "a/x.txt",
        "a-b/w.txt",
        "b/z.txt",
        "b/a/y.txt",
    ]
    places = [walk_key(str(tmp_path), path) for path in walk(str(tmp_path))]
    assert places == sorted(places)
    assert [request["path"] for request in source(tmp_path).requests()] == [
        str(tmp_path / n) for n in names if "nothing" not in n
    ]


def test_an_empty_folder_has_no_slices(tmp_path):
    """Point 33; it is told, as the execution is completed."""
    with capture_logs() as logs:
        runner = make_runner({"_op": "file_reader", "path": str(tmp_path), "format": "raw"})
        assert runner.make(5, 60).is_finished
    assert [(entry["event"], entry["path"]) for entry in logs] == [("reader.found_nothing", str(tmp_path))]


@pytest.mark.parametrize("name", ["absent", "fifo"])
def test_a_path_that_can_not_be_read_is_told_at_the_start(tmp_path, name):
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(OperationError, match=f"path {tmp_path / name} "):
        make_runner({"_op": "file_reader", "path": str(tmp_path / name), "format": "raw"})


def test_a_reader_goes_on_behind_its_last_slice(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text('{"n":1}\n' * 5)
    spec = {"_op": "file_reader", "path": str(tmp_path), "format": "ldjson", "size": 16}
    made = [json.loads(text) for text in make_runner(spec).make(100, 60).slices[0][1]]

    for i, last in enumerate(made):
        runner = make_runner(spec, recovery=[RecoveryEntry(slicer_id=0, last_slice=last, slicer_order=i + 1)])
        rest = runner.make(100, 60).slices
        assert [json.loads(text) for text in (rest[0][1] if rest else [])] == made[i + 1 :]


def test_a_reader_whose_last_file_is_gone_goes_on_with_the_next(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("{}\n")
    _, last, _ = source(tmp_path).requests()
    (tmp_path / "b").unlink()

    assert [request["path"] for request in source(tmp_path).requests(last)] == [str(tmp_path / "c")]


def test_json_is_one_slice_per_file_and_gives_each_element(tmp_path):
    """Point 31."""
    (tmp_path / "list").write_text('[{"a":1},{"a":2}]')
    (tmp_path / "object").write_text('{"a":\n3}')
    files = source(tmp_path, "json", size=3)

    assert len(list(files.requests())) == 2
    assert read_all(files) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_compressed_files_are_one_slice_each(tmp_path):
    (tmp_path / "f.gz").write_bytes(gzip.compress(b'{"a":1}\n' * 1000))
    files = source(tmp_path, compression="gzip", size=10)

    assert (len(list(files.requests())), len(read_all(files))) == (1, 1000)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"format": "json", "file_per_slice": False}, "file_per_slice"),
        ({"compression": "gzip", "file_per_slice": False}, "file_per_slice"),
        ({"compression": "zip"}, "compression"),
        ({"format": "tsv", "field_delimiter": ";"}, "field_delimiter"),
        ({"format": "xml"}, "format"),
        ({"path": None}, "path"),
        ({"size": 0}, "size"),
        ({"format": "csv", "field_delimiter": "ab"}, "field_delimiter"),
    ],
)
def test_options_that_can_not_work_are_refused(options, field):
    """Points 31 and 34."""
    with pytest.raises(JobInvalid) as info:
        load(FileReaderConfig, {"_op": "file_reader", "path": "x", "format": "raw", **options})
    assert [path for path, _ in info.value.faults] == [field]


def test_a_delimiter_that_overlaps_itself_is_read_in_whole_files(tmp_path):
    (tmp_path / "f").write_text("a\n\n\nb")
    files = source(tmp_path, "raw", size=2, line_delimiter="\n\n")

    assert (len(list(files.requests())), read_all(files)) == (1, [{"data": "a"}, {"data": "\nb"}])


def csv_records(tmp_path, text, **options):
    (tmp_path / "f.csv").write_bytes(text.encode())
    return read_all(source(tmp_path / "f.csv", options.pop("format", "csv"), **options))


def test_the_header_names_the_columns_in_every_slice(tmp_path):
    text = "id,a name\n" + "".join(f"{i},n{i}\n" for i in range(50))

    assert csv_records(tmp_path, text, size=16) == [{"id": str(i), "a name": f"n{i}"} for i in range(50)]


def test_fields_name_the_columns_and_a_header_that_repeats_them_is_dropped(tmp_path):
    """Point 34."""
    assert csv_records(tmp_path, "b,a\n1,2\n", fields=["a", "b"]) == [{"a": "2", "b": "1"}]
    assert csv_records(tmp_path, "x,y\n1,2\n", fields=["a", "b"]) == [
        {"a": "x", "b": "y"},
        {"a": "1", "b": "2"},
    ]
    assert len(csv_records(tmp_path, "a,b\n1,2\n", fields=["a", "b"], remove_header=False)) == 2


def test_without_a_header_columns_have_numbers(tmp_path):
    assert csv_records(tmp_path, "1,2\n3\n", remove_header=False) == [
        {"field1": "1", "field2": "2"},
        {"field1": "3"},
    ]


def test_empty_columns_are_left_out_unless_wanted(tmp_path):
    """Point 34."""
    text = "a,b,c\n1,,3\n,,\n"

    assert csv_records(tmp_path, text) == [{"a": "1", "c": "3"}, {}]
    assert csv_records(tmp_path, text, ignore_empty=False) == [
        {"a": "1", "b": "", "c": "3"},
        {"a": "", "b": "", "c": ""},
    ]


def test_values_are_trimmed_and_surplus_columns_kept(tmp_path):
    assert csv_records(tmp_path, "a,b\n 1 ,2 2\t,3\n4, 5\n6 ,7 ") == [
        {"a": "1", "b": "2 2", "field3": "3"},
        {"a": "4", "b": "5"},
        {"a": "6", "b": "7"},
    ]


def test_tabs_and_other_delimiters_separate_columns(tmp_path):
    assert csv_records(tmp_path, "a\tb\n1\t2 \n", format="tsv") == [{"a": "1", "b": "2"}]
    assert csv_records(tmp_path, "a;b\n1;2,3\n", field_delimiter=";") == [{"a": "1", "b": "2,3"}]


def test_columns_of_one_name_are_told_apart(tmp_path):
    assert csv_records(tmp_path, "a,,a\n1,2,3\n") == [{"a": "1", "field2": "2", "field3": "3"}]


def test_quotes_protect_delimiters_in_every_slice(tmp_path):
    text = "a,b\n" + '"1,""x""",2\n' * 20

    assert csv_records(tmp_path, text, size=7) == [{"a": '1,"x"', "b": "2"}] * 20


def test_a_quoted_line_break_is_read_from_whole_files_and_slices_of_any_size(tmp_path):
    """Point 34."""
    text = 'a,b\n"1\n2",3\n4,5\n'
    expected = [{"a": "1\n2", "b": "3"}, {"a": "4", "b": "5"}]

    assert csv_records(tmp_path, text, file_per_slice=True) == expected
    for size_b in range(1, len(text) + 1):
        assert csv_records(tmp_path, text, size=size_b) == expected


def test_long_fields_are_read(tmp_path):
    assert len(csv_records(tmp_path, "a,b\n" + "x" * 300_000 + ",2\n")[0]["a"]) == 300_000


def test_bad_records_are_rejected_and_the_others_kept(tmp_path):
    rejects = []
    path = tmp_path / "f"
    path.write_bytes(b'{"a":1}\n{"a":\n\n[1]\n5\n{"a":"\xff"}\n  \n{"a":2}\n')

    assert read_all(source(path, rejects=rejects)) == [{"a": 1}, {"a": 2}]
    assert rejects == [b'{"a":', b"[1]", b"5", b'{"a":"\xff"}']
    path.write_bytes(b"a\n\xff\nb\n")
    assert read_all(source(path, "raw", rejects=rejects)) == [{"data": "a"}, {"data": "b"}]
    assert rejects[4:] == [b"\xff"]


def test_a_file_that_was_cut_short_since_is_an_error(tmp_path):
    path = tmp_path / "f"
    path.write_text("{}\n" * 10)
    files = source(path, size=9)
    requests = list(files.requests())
    path.write_text("{}\n" * 4)

    with pytest.raises(OperationError, match="shorter"):
        files.read(requests[1])


def test_what_is_appended_after_the_cut_is_not_read(tmp_path):
    path = tmp_path / "f"
    path.write_text('{"n":1}\n{"n":2}')
    files = source(path, size=9)
    requests = list(files.requests())
    with path.open("a") as file:
        file.write('22}\n{"n":3}\n')

    assert [dict(r) for request in requests for r in files.read(request)] == [{"n": 1}, {"n": 2}]


def test_options_may_stand_on_the_api(tmp_path):
    (tmp_path / "f").write_text("x\ny\n")
    job = checked(
        {"_op": "file_reader", "_api_name": "file_reader_api:in"},
        "noop",
        apis=[{"_name": "file_reader_api:in", "path": str(tmp_path), "format": "raw"}],
    )
    pipeline = Pipeline(job, REGISTRY, OpContext(), keep_records=True)
    pipeline.initialize()
    request = {"path": str(tmp_path / "f"), "offset": 0, "length": 4, "total": 4}

    assert pipeline.run(Slice.of(request)).records == [{"data": "x"}, {"data": "y"}]
    client = pipeline.apis.get("file_reader_api:in").create("mine", {"size": 3})
    assert [request["offset"] for request in client.requests()] == [0, 2]


def test_the_api_must_be_of_the_right_kind(tmp_path):
    with pytest.raises(JobInvalid, match="must name a file_reader_api"):
        checked(
            {"_op": "file_reader", "_api_name": "file_sender_api"},
            "noop",
            apis=[{"_name": "file_sender_api", "path": str(tmp_path), "format": "raw"}],
        )
    with pytest.raises(JobInvalid, match=r"operations\[0\]\.path"):
        checked({"_op": "file_reader", "format": "raw"}, "noop")


def test_an_unreadable_folder_names_itself(tmp_path):
    with pytest.raises(OperationError, match=f"folder {tmp_path / 'gone'} can not be read"):
        list(walk(str(tmp_path / "gone")))
    assert Path(tmp_path).exists()


def test_lines_can_be_read_as_raw_bytes(tmp_path):
    """For json_parser, and for encodings that tsd does not know."""
    path = tmp_path / "lines"
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\n\n\xff\xfe\n')
    job = checked({"_op": "file_reader", "path": str(path), "format": "ldjson", "_encoding": "raw"}, "noop")
    pipeline = Pipeline(job, REGISTRY, OpContext(), keep_records=True)
    pipeline.initialize()
    request = {"path": str(path), "offset": 0, "length": path.stat().st_size, "total": path.stat().st_size}
    records = pipeline.run(Slice.of(request)).records
    assert [record.get_raw_data() for record in records] == [b'{"n": 1}', b"\xff\xfe"]
    assert records == [{}, {}]
