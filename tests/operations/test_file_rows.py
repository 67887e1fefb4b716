"""Rows of csv and tsv: the same in whole files and slices of any size, by one grammar and one rule of trimming."""

import csv
import io
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tsd.errors import JobInvalid, NonRetryable
from tsd.operations.standard.byte_slices import whole_records
from tsd.operations.standard.csv_cuts import cut_rows
from tsd.operations.standard.csv_rows import Grammar, RowSplitter
from tsd.operations.standard.disk_storage import DiskFile
from tsd.operations.standard.file_tables import BLANKS, column_names

ODD = [
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x00",
    "\ufeff",
    "é",
    "😀",
    "a",
    "b",
    "1",
]
PIECES = st.sampled_from([*ODD, " ", '"', '"', ",", "\n", "\r", "\r\n", "\\", "\t", "|"])
TEXTS = st.lists(PIECES, max_size=30).map("".join)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "escape": st.sampled_from(["\\", "'"]),
        "quote": st.sampled_from(["'", "off", "é"]),
        "delimiter": st.sampled_from([";", "é", "\t", " "]),
        "trim": st.booleans(),
        "relax": st.booleans(),
    },
)
DELIMITERS = st.sampled_from([None, "\n", "\r\n", "\r", "|", "|;|", "ab"])


def outcome(path, **options):
    """Records, with what was rejected and where; or that the file can not be read."""
    refused = []

    def reject(fragment, error):
        refused.append((bytes(fragment), fragment.metadata["byte_offset"], fragment.metadata["line"]))

    try:
        return read_all(source(path, "csv", reject=reject, **options)), refused
    except NonRetryable:
        return "unreadable"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=TEXTS,
    line=DELIMITERS,
    arguments=ARGUMENTS,
    ignore_empty=st.booleans(),
    remove_header=st.booleans(),
    size_b=st.integers(1, 40),
    bad=st.booleans(),
)
@example(
    text="1,\u00a0x\n2, y\n",
    line=None,
    arguments={},
    ignore_empty=True,
    remove_header=True,
    size_b=5,
    bad=False,
)
@example(
    text="1,x\\\ny\n2,z\n",
    line=None,
    arguments={"escape": "\\"},
    ignore_empty=True,
    remove_header=True,
    size_b=9,
    bad=False,
)
def test_slices_of_any_size_have_the_rows_and_the_rejects_of_the_whole_file(
    tmp_path, *, text, line, arguments, ignore_empty, remove_header, size_b, bad
):
    data = f"h1{arguments.get('delimiter', ',')}h2{line or chr(10)}{text}".encode()
    if bad:
        data = data.replace("é".encode(), b"\xe9")
    (tmp_path / "f").write_bytes(data)
    options = {"extra_args": arguments, "ignore_empty": ignore_empty, "remove_header": remove_header}
    if line:
        options["line_delimiter"] = line
    try:
        whole = outcome(tmp_path / "f", file_per_slice=True, **options)
    except JobInvalid:
        return  # signs that are the same

    assert outcome(tmp_path / "f", size=size_b, **options) == whole
    for refused, offset, number in whole[1] if whole != "unreadable" else ():
        assert data[offset:].startswith(refused)
        assert number == data.count((line or "\n").encode(), 0, offset) + 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, size_b=st.integers(1, 40))
def test_rows_are_those_of_pythons_csv(tmp_path, text, size_b):
    (tmp_path / "f").write_text(text, newline="", encoding="utf-8")
    found = outcome(
        tmp_path / "f",
        size=size_b,
        extra_args={"trim": False},
        ignore_empty=False,
        remove_header=False,
    )
    if found == "unreadable" or found[1]:
        return  # what the csv module refuses, or an open quote, which it closes in silence

    rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")) if row]
    assert [list(record.values()) for record in found[0]] == rows


@settings(max_examples=200, deadline=None)
@given(
    text=TEXTS,
    escape=st.sampled_from([None, "\\"]),
    line=st.sampled_from(["\n", "\r\n", "|;|"]),
    piece_b=st.integers(1, 9),
)
def test_blocks_of_a_text_have_the_rows_of_the_whole(text, escape, line, piece_b):
    grammar = Grammar(line=line, field=",", escape=escape)
    data = text.encode()
    whole, parts = RowSplitter(grammar), RowSplitter(grammar)
    blocks = whole_records((data[i : i + piece_b] for i in range(0, len(data), piece_b)), line.encode())

    found = [parts.marker.unmarked(row) for block in blocks for row in parts.split(block.decode())]
    rest = parts.rest_b, parts.rest()
    assert found == [whole.marker.unmarked(row) for row in whole.split(text)]
    assert (rest, parts.is_open) == ((whole.rest_b, whole.rest()), whole.is_open)
    assert line.join([*found, parts.marker.unmarked(rest[1])]) == text


@contextmanager
def opened(data):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield DiskFile(file.fileno(), file.name)


def test_no_cut_falls_into_quotes_and_cutting_goes_on_at_the_end_of_any_slice():
    row = b'1,"two\nlines, and ""quotes""\n",3\n'
    data = b"a,b,c\n" + row * 20 + b'4,5" pipe,6\n' + row * 20
    with opened(data) as file:
        cuts = list(cut_rows(file, len(data), 40, Grammar(line="\n", field=",")))
        ends = [cut.offset + cut.length for cut in cuts]
        for i, end in enumerate(ends[:-1]):
            rest = list(cut_rows(file, len(data), 40, Grammar(line="\n", field=","), end))
            assert rest == cuts[i + 1 :]

    texts = [
        data[max(cut.offset, 0) + (1 if cut.offset else 0) : end] for cut, end in zip(cuts, ends, strict=True)
    ]
    assert len(texts) > 20
    assert b"".join(texts) == data
    assert all(text.count(b'"') % 2 == 0 for text in texts if b"pipe" not in text)


def test_a_reader_goes_on_behind_any_slice_of_a_table(tmp_path):
    rows = [f'{i},"two\nlines, {i}",x' for i in range(60)]
    (tmp_path / "1").write_text("a,b,c\n" + "\n".join(rows))
    (tmp_path / "2").write_text("a,b,c\n" + "\n".join(rows[:3]))
    files = source(tmp_path, "csv", size=50)
    requests = list(files.requests())
    expected = [dict(record) for request in requests for record in files.read(request)]

    assert [record["b"] for record in expected] == [f"two\nlines, {i}" for i in (*range(60), 0, 1, 2)]
    for i, last in enumerate(requests):
        for size_b in (50, 7, 400):
            others = source(tmp_path, "csv", size=size_b)
            rest = [dict(record) for request in others.requests(last) for record in others.read(request)]
            before = sum(len(files.read(request)) for request in requests[: i + 1])
            assert rest == expected[before:]


def test_a_quoted_cell_over_many_slices_is_one_cell(tmp_path):
    cell = "".join(f"k{i},v1\n" for i in range(200))
    (tmp_path / "f").write_text(f'a,b\n1,"{cell}z"\n3,4\n')

    records, rejects = outcome(tmp_path / "f", size=100)
    assert (records, rejects) == ([{"a": "1", "b": f"{cell}z"}, {"a": "3", "b": "4"}], [])


@pytest.mark.parametrize("options", [{"size": 9}, {"file_per_slice": True}])
@pytest.mark.parametrize("text", ['5" pipe', 'a"b"c', 'x""y', '6"'])
def test_a_quote_within_a_cell_is_a_letter_of_it(tmp_path, text, options):
    (tmp_path / "f").write_text(f"a,b\n1,{text}\n2,y\n")

    records, rejects = outcome(tmp_path / "f", **options)
    assert (records, rejects) == ([{"a": "1", "b": text}, {"a": "2", "b": "y"}], [])


@pytest.mark.parametrize("size_b", [5, 12, 1000])
def test_a_quote_that_is_never_closed_makes_up_no_rows(tmp_path, size_b):
    (tmp_path / "f").write_text('a,b\n1,2\n3,"4\n5,6\n7,8\n')

    assert outcome(tmp_path / "f", size=size_b) == ([{"a": "1", "b": "2"}], [(b'3,"4\n5,6\n7,8\n', 8, 3)])


def test_a_quote_without_end_in_a_large_file_fails_its_slice_with_the_place(tmp_path, monkeypatch):
    monkeypatch.setattr("tsd.operations.standard.csv_cuts.LONGEST_CELL_B", 1000)
    (tmp_path / "f").write_text("a,b\n" + "1,2\n" * 100 + '3,"4\n' + "5,6\n" * 600_000)
    files = source(tmp_path / "f", "csv", size=100)
    *good, bad = files.requests()

    assert sum(len(files.read(request)) for request in good) > 90
    with pytest.raises(
        NonRetryable, match=r'line 102 \(byte 404\) is not closed .* extra_args.quote to "off"'
    ):
        files.read(bad)
    assert bad["offset"] + bad["length"] == bad["total"]


def test_a_row_that_the_csv_module_refuses_ends_where_its_row_ends(tmp_path):
    """Not at the end of its line, where the inside of its last cell would become a row."""
    (tmp_path / "f").write_text('a,b,c\n1,x\ry,"2\n3,4,5\n",6\n7,8,9\n')

    expected = [{"a": "7", "b": "8", "c": "9"}], [(b'1,x\ry,"2\n3,4,5\n",6', 6, 2)]
    for size_b in (1, 10, 100):
        assert outcome(tmp_path / "f", size=size_b) == expected


@pytest.mark.parametrize("line", ["\n", "\r\n", "|", "|;|"])
@pytest.mark.parametrize("inner", ["\n", "\r\n", "\r", "|", "|;|"])
def test_what_stands_in_quotes_is_kept_byte_for_byte(tmp_path, line, inner):
    (tmp_path / "f").write_text(f'a,b{line}1,"x{inner}y"{line}', newline="")

    for options in ({"file_per_slice": True}, {"size": 5}):
        records, _ = outcome(tmp_path / "f", line_delimiter=line, **options)
        assert records == [{"a": "1", "b": f"x{inner}y"}]


# --- trimming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbour", ["", "2, y\n", '2,"y"\n', "2,\u3000\n"])
@pytest.mark.parametrize("character", [*BLANKS.replace("\n", "").replace("\r", ""), *ODD[:4], "\x1c"])
def test_whether_a_value_is_trimmed_depends_on_nothing_but_itself(tmp_path, character, neighbour):
    (tmp_path / "f").write_text(f"id,v\n1,{character}x{character}\n{neighbour}", encoding="utf-8")

    records, _ = outcome(tmp_path / "f")
    assert records[0]["v"] == ("x" if character in BLANKS else f"{character}x{character}")


# --- the header and fields --------------------------------------------------------------------------

HEADERS = {
    "b,a": [{"a": "2", "b": "1"}],
    " a , b": [{"a": "1", "b": "2"}],
    "x,y": [{"a": "x", "b": "y"}, {"a": "1", "b": "2"}],
}


@pytest.mark.parametrize("size_b", [1, 4, 1000])
@pytest.mark.parametrize("header", HEADERS)
def test_columns_are_matched_by_name(tmp_path, header, size_b):
    (tmp_path / "f").write_text(f"{header}\n1,2\n")

    assert outcome(tmp_path / "f", fields=["a", "b"], size=size_b) == (HEADERS[header], [])


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("A,B", 'it lacks "a", "b"; it has besides "A", "B"'),
        ("a,b,c", 'it has besides "c"'),
        ("a", 'it lacks "b"'),
        ("a,a", 'it lacks "b"; it repeats "a"'),
        ("a,5", 'it lacks "b"; it has besides "5"'),
    ],
)
@pytest.mark.parametrize("size_b", [4, 1000])
def test_a_first_row_that_is_nearly_the_header_is_refused(tmp_path, header, words, size_b):
    (tmp_path / "f").write_text(f"{header}\n1,2\n")
    files = source(tmp_path / "f", "csv", fields=["a", "b"], size=size_b)

    for request in files.requests():
        with pytest.raises(NonRetryable) as info:
            files.read(request)
        assert words in str(info.value)
        assert "set remove_header to false" in str(info.value)
    found = outcome(tmp_path / "f", fields=["a", "b"], remove_header=False, ignore_empty=False)
    assert len(found[0]) == 2


def test_each_file_has_its_own_order_of_columns(tmp_path):
    (tmp_path / "1").write_text("a,b\n1,2\n")
    (tmp_path / "2").write_text("b,a\n3,4\n")
    (tmp_path / "3").write_text("5,6\n")

    found = read_all(source(tmp_path, "csv", fields=["a", "b"], size=4))
    assert found == [{"a": "1", "b": "2"}, {"a": "4", "b": "3"}, {"a": "5", "b": "6"}]


def test_one_column_is_matched_too(tmp_path):
    (tmp_path / "f").write_text("a\n1\n")

    assert outcome(tmp_path / "f", fields=["a"]) == ([{"a": "1"}], [])
    assert outcome(tmp_path / "f", fields=["x"]) == ([{"x": "a"}, {"x": "1"}], [])


def test_names_of_many_columns_are_distinct():
    cells = [*(f"c{i}" for i in range(60_000)), *[""] * 60_000, *(f"c{i}" for i in range(60_000))]

    names = column_names(cells)
    assert len(set(names)) == len(cells)
    assert names[:60_000] == cells[:60_000]


def test_wide_rows_are_read_and_longer_ones_keep_all_columns(tmp_path):
    width = 50_000
    (tmp_path / "f").write_text(
        ",".join(f"c{i}" for i in range(width))
        + "\n"
        + ",".join("1" * width)
        + ",\n"
        + ",".join("2" * (width + 9))
    )

    first, second = outcome(tmp_path / "f")[0]
    assert (len(first), len(second), second[f"field{width + 9}"]) == (width, width + 9, "2")


def test_signs_that_would_be_taken_for_each_other_are_refused():
    for options in ({"line_delimiter": "a,b"}, {"line_delimiter": '"'}, {"extra_args": {"quote": "|"}}):
        with pytest.raises(JobInvalid):
            source(Path(os.sep), "csv", **{"line_delimiter": "|", **options})
