"""What a reader can not take: that record alone, with its place, its text, and words that say what to do."""

import bz2
import gzip
import io
import json
import lzma

import lz4.frame
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tests.support.pipelines import REGISTRY, checked
from tsd.core.letters import decode_letters, join_letters
from tsd.errors import NonRetryable
from tsd.operations.context import OpContext
from tsd.operations.pipeline import Pipeline
from tsd.operations.record import Record
from tsd.operations.slice import Slice
from tsd.operations.standard import fragment_places
from tsd.operations.standard.fragment_places import Front, Lines
from tsd.operations.standard.json_arrays import elements
from tsd.operations.standard.storage import DamagedError

DEEP = b'{"v":' + b"[" * 2000 + b"]" * 2000 + b"}"


def read(tmp_path, data, form="ldjson", **options):
    """Records, and of each reject its bytes, offset, line and message."""
    (tmp_path / "f").write_bytes(data)
    refused = []

    def reject(fragment, error):
        place = fragment.metadata
        refused.append((bytes(fragment), place["byte_offset"], place.get("line"), str(error)))

    return read_all(source(tmp_path / "f", form, reject=reject, **options)), refused


# --- one record takes nothing with it ---------------------------------------------------------------

BAD = [
    (DEEP, "nested too deep"),
    (b'{"a":NaN}', "NaN and Infinity are no JSON"),
    (b'{"a":1e400}', "out of range"),
    (b'{"a":' + b"9" * 5000 + b"}", "out of range"),
    (b'{"a":"\\ud800"}', "half of a surrogate pair"),
    (b'{"a":"\\udc00x"}', "half of a surrogate pair"),
    (b'{"a":2,}', "trailing comma"),
    (b"{'a':2}", "double quotes"),
    (b'{"a":None}', "null, true and false"),
    (b'{"a":', "ends too early"),
    (b'{"a":"\xe9"}', "0xe9, is no UTF-8"),
    (b'{"a":1}{"b":2}', "a line has one JSON object"),
    (b'{"a":1} {"b":2}', "a line has one JSON object"),
    (b'{"a":1}\r{"b":2}', "carriage return alone: set line_delimiter"),
    (b"[1]", "set format to json"),
    (b"5", "not a number"),
    (b"null", "not null"),
    (b"<a>", "HTML or XML"),
    (b"\0\0", "null byte"),
]


@pytest.mark.parametrize("size_b", [3, 10_000])
@pytest.mark.parametrize(("bad", "words"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_rejected_alone_with_its_place(tmp_path, bad, words, size_b):
    good = b'{"n":1}\n'
    records, refused = read(tmp_path, good * 3 + bad + b"\n" + good, size=size_b)

    assert records == [{"n": 1}] * 4
    ((data, offset, line, message),) = refused
    assert (data, offset, line) == (bad, 24, 4)
    assert words in message
    assert message.startswith(f"file {tmp_path}/f, line 4 (byte 24): ")


@pytest.mark.parametrize(("bad", "words"), [case for case in BAD if case[0] not in (b"[1]", b'{"a":')])
def test_a_bad_element_of_an_array_is_rejected_alone_with_its_place(tmp_path, bad, words):
    if b"\r{" in bad or b"'" in bad or b"}{" in bad or b"} {" in bad:
        words = ""
    records, refused = read(tmp_path, b'[{"n":1},\n {"n":2} ,\n' + bad + b'\n,{"n":"]"}]', "json")

    assert records == [{"n": 1}, {"n": 2}, {"n": "]"}]
    ((data, offset, line, message),) = refused
    assert (data, offset, line) == (bad, 21, 3)
    assert words in message
    assert "set format" not in message


@pytest.mark.parametrize(
    "data",
    [
        b"[1,",
        b'[{"a":1}',
        b'["a]',
        b"[}",
        b"[{]",
        b"[1] 2",
        b"{}{}",
        b'{"a":1},',
        b"[[1]",
        b"]",
        b"\xff",
        b"x",
    ],
)
def test_a_file_whose_elements_nobody_can_tell_is_no_json(tmp_path, data):
    with pytest.raises(NonRetryable, match=f"file {tmp_path}/f can not be read: it is no JSON"):
        read(tmp_path, data, "json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    values=st.lists(JSON, max_size=5),
    indent=st.sampled_from([None, 1]),
    bad=st.sampled_from(["", "NaN", "x"]),
)
def test_elements_are_found_where_they_stand(values, indent, bad):
    texts = [*(json.dumps(value, indent=indent) for value in values), *[bad] * bool(bad)]
    data = ("[\n" + " ,\n ".join(texts) + " ]").encode()

    found = list(elements(data))
    assert [text.decode() for _, text in found] == texts
    assert all(data[offset : offset + len(text)] == text for offset, text in found)


def test_an_empty_element_is_told(tmp_path):
    records, refused = read(tmp_path, b'[{"a":1},]', "json")

    assert (records, [each[:2] for each in refused]) == ([{"a": 1}], [(b"", 9)])
    assert "a comma has no element beside it" in refused[0][3]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.sampled_from(
            [b'{"a":1}', b'{"a":', b"1}", b'{"b":{', b"}}", b"", b" ", b"\x0b", b'{"a":1}{"b":2}', b"5"]
        ),
        max_size=8,
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    size_b=st.integers(1, 30),
)
def test_lines_are_read_one_by_one_whatever_stands_beside_them(tmp_path, lines, end, size_b):
    """A decoder of many lines at once would join them, or take two objects of one."""
    records, refused = read(tmp_path, end.join(lines), size=size_b)

    assert (records, refused) == read(tmp_path, end.join(lines), file_per_slice=True)
    assert len(records) == lines.count(b'{"a":1}')
    given_lines = [line for line in lines if line.strip(b" ") and line != b'{"a":1}']
    assert [data.removesuffix(b"\r") for data, *_ in refused] == given_lines


# --- a whole file of another kind ---------------------------------------------------------------------

TEXT = b'{"a":1}\n{"a":2}\n'
LATIN = "a,b\nfünf,2\n3,4\n5,6\n"
FOREIGN = {
    "gzip": (gzip.compress(TEXT), "it is compressed: set compression to gzip"),
    "bz2": (bz2.compress(TEXT), "set compression to bz2"),
    "xz": (lzma.compress(TEXT), "set compression to xz"),
    "lz4": (lz4.frame.compress(TEXT), "set compression to lz4"),
    "zstd": (zstandard.compress(TEXT), "set compression to zstd"),
    "zip": (b"PK\x03\x04\x14\0\0\0\x08\0" + b"\xff" * 50, "zip archive"),
    "parquet": (b"PAR1\x15\0\x15\xff" + b"\0" * 50, "Parquet"),
    "utf-16": (LATIN.encode("utf-16"), "it is UTF-16: convert it to UTF-8"),
    "utf-16-be": (b"\xfe\xff" + LATIN.encode("utf-16-be"), "it is UTF-16"),
    "utf-16-le without a mark": (LATIN.encode("utf-16-le"), "it is UTF-16LE"),
    "utf-16-be without a mark": (LATIN.encode("utf-16-be"), "it is UTF-16BE"),
    "utf-32": (LATIN.encode("utf-32"), "it is UTF-32"),
    "utf-32 without a mark": (LATIN.encode("utf-32-le"), "it is UTF-32LE"),
}


@pytest.mark.parametrize("form", ["ldjson", "json", "csv", "tsv", "raw"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_fails_at_once_in_every_slice_and_rejects_nothing(tmp_path, kind, form):
    data, words = FOREIGN[kind]
    (tmp_path / "f").write_bytes(data)
    rejects = []
    files = source(tmp_path / "f", form, rejects=rejects, **({} if form == "json" else {"size": 20}))

    for request in files.requests():
        with pytest.raises(NonRetryable, match=f"file {tmp_path}/f can not be read: ") as info:
            files.read(request)
        assert words in str(info.value)
    assert rejects == []


def test_the_right_compression_is_told_when_another_was_set(tmp_path):
    (tmp_path / "f").write_bytes(zstandard.compress(TEXT))

    with pytest.raises(NonRetryable, match="it is no gzip: set compression to zstd"):
        read_all(source(tmp_path / "f", compression="gzip"))


def test_what_a_compressed_file_becomes_is_looked_at_too(tmp_path):
    (tmp_path / "f").write_bytes(gzip.compress(gzip.compress(TEXT)))

    with pytest.raises(NonRetryable, match="what it becomes is no text: it is compressed"):
        read_all(source(tmp_path / "f", compression="gzip"))


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("json", TEXT, "its first line is an object of its own: set format to ldjson"),
        (
            "ldjson",
            b'[\n  {\n    "a": 1\n  }\n]\n',
            "it is one JSON document over several lines: set format to json",
        ),
        (
            "ldjson",
            b'{"rows":[\n{"a":1},\n{"a":2}\n]}\n',
            "it is one JSON document over several lines: set format to json",
        ),
        ("ldjson", b"<!DOCTYPE html>\n<p>Not found\n", "HTML or XML"),
        ("csv", b"<?xml version='1.0'?>\n<a/>\n", "HTML or XML"),
        ("csv", b"a,b\r1,2\r", 'set line_delimiter to "\\r"'),
        ("json", b'{"a": 1,\n "b": ?}', "at line 2 (byte 15)"),
    ],
)
def test_a_wrong_format_is_told_with_the_right_one(tmp_path, form, data, words):
    with pytest.raises(NonRetryable) as info:
        read(tmp_path, data, form)

    assert words in str(info.value)
    assert "universal-newline" not in str(info.value)


def test_text_that_only_looks_a_little_like_something_else_is_read(tmp_path):
    for data in (b"PAR1,b\n", b"BZh9 is no bz2\n", b"ORC\n", b"a\0b\n\0\n", b"\0" * 64 + b"x\n", b"%PDF-\n"):
        records, refused = read(tmp_path, data, "raw")
        assert (len(records), refused) == (data.count(b"\n"), [])


# --- places -----------------------------------------------------------------------------------------


def test_lines_are_counted_in_slices_and_in_compressed_files(tmp_path):
    lines = [b'{"n":1}\n'] * 50
    lines[7] = lines[30] = lines[31] = b"{bad}\n"
    data = b"".join(lines)
    expected = [(len(b"".join(lines[:i])), i + 1) for i in (7, 30, 31)]

    for options in ({"size": 20}, {"size": 100}, {"file_per_slice": True}):
        assert [each[1:3] for each in read(tmp_path, data, **options)[1]] == expected
    (tmp_path / "g").mkdir()
    assert [
        each[1:3] for each in read(tmp_path / "g", gzip.compress(data), compression="gzip")[1]
    ] == expected


def test_a_line_that_is_too_far_to_count_has_its_offset_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(fragment_places, "_MOST_COUNTED_B", 100)
    data = b'{"n":1}\n' * 50 + b"{bad}\n"

    ((_, offset, line, message),) = read(tmp_path, data, size=40)[1]
    assert (offset, line) == (400, None)
    assert "f, byte 400: it is no JSON" in message


@given(
    data=st.binary(max_size=60).map(lambda data: data.replace(b"\x01", b"\r\n")),
    offsets=st.lists(st.integers(0, 60)),
)
def test_lines_are_counted_forwards_and_back(data, offsets):
    lines = Lines(lambda at, length: data[at : at + length], b"\r\n")

    for offset in (offset for offset in offsets if offset <= len(data)):
        assert lines.at(offset) == data.count(b"\r\n", 0, offset) + 1


@given(pieces=st.lists(st.binary(max_size=5), max_size=8), reads=st.lists(st.integers(0, 6), max_size=8))
def test_the_front_of_a_stream_is_read_on(pieces, reads):
    data, at = b"".join(pieces), 0
    front = Front(iter(pieces))

    for length in reads:
        start = max(at - 1, 0)
        assert front.read(start, length) == data[start : start + length]
        at = max(at, min(start + length, len(data)))


def test_a_bad_array_says_where(tmp_path):
    with pytest.raises(DamagedError, match="byte 3"):
        list(elements(b"[1,}"))


# --- in a job -----------------------------------------------------------------------------------------


def run_reader(tmp_path, data, action="store", form="ldjson", **options):
    (tmp_path / "in").write_bytes(data)
    spec = {
        "_op": "file_reader",
        "path": str(tmp_path / "in"),
        "format": form,
        "_dead_letter_action": action,
        **options,
    }
    pipeline = Pipeline(checked(spec, "noop", max_retries=3), REGISTRY, OpContext(), keep_records=True)
    pipeline.initialize()
    request = {"path": str(tmp_path / "in"), "offset": 0, "length": len(data), "total": len(data)}
    return pipeline.run(Slice.of(request))


def test_a_letter_has_the_text_as_text_and_the_place_beside_it(tmp_path):
    outcome = run_reader(tmp_path, b'{"a":1}\n{"a":2,}\n{"a":"\xe9"}\n')

    assert outcome.records == [{"a": 1}]
    text, other = decode_letters(join_letters(outcome.letters))
    assert (json.loads(bytes(text.record)), text.form) == ('{"a":2,}', "text")
    place = json.loads(bytes(text.metadata))
    assert (place["path"], place["byte_offset"], place["line"]) == (f"{tmp_path}/in", 8, 2)
    assert text.error.startswith(f"file {tmp_path}/in, line 2 (byte 8): it is no JSON: trailing comma")
    assert other.form == "base64"


@pytest.mark.parametrize(
    ("form", "data"),
    [("ldjson", b'{"a":1}\n{"a":2,}\n'), ("raw", b"a\n\xff\n"), ("csv", b"a,b\n1,x\ry\n"), ("json", b"[5]")],
)
def test_with_throw_the_slice_fails_at_once_with_the_same_words(tmp_path, form, data):
    outcome = run_reader(tmp_path, data, "throw", form)

    assert (outcome.state, outcome.retry_count) == ("error", 0)
    first = outcome.error.splitlines()[0]
    assert f"file {tmp_path}/in, line " in first
    assert "(byte " in first


def test_json_parser_rejects_one_record_alone():
    processor = checked("list_reader", {"_op": "json_parser", "_dead_letter_action": "store"})
    pipeline = Pipeline(processor, REGISTRY, OpContext(), keep_records=True)
    pipeline.initialize()
    raws = [b'{"a":1}', DEEP, b'{"a":"\\ud800"}', b"[1]", b'{"a":2}']
    parsed = pipeline.operations[1].on_batch([Record.from_bytes(raw, "raw") for raw in raws])

    assert parsed == [{"a": 1}, {"a": 2}]


def test_a_line_of_many_bytes_is_cut_in_the_message(tmp_path):
    ((_, _, _, message),) = read(tmp_path, b'{"a":' + b"1" * 100_000 + b"x}\n")[1]

    assert len(message) < 500 + len(str(tmp_path))


def test_html_in_a_stream_of_lines_is_rejected_line_by_line_when_records_came_before(tmp_path):
    records, refused = read(tmp_path, io.BytesIO(b'{"a":1}\n<html>\n').getvalue())

    assert (records, len(refused)) == ([{"a": 1}], 1)


@pytest.mark.parametrize(
    "torn",
    [
        '{"a":\n1}\n{"b":2}{"c":3}\n',  # as many objects as lines, and none of the first two lines is one
        '{"a":{}\n}\n{"b":2} {"c":3}\n',
        '{"b":2}{"c":3}\n{"a":[{}\n,{}]}\n',
        '[{"a":1}\n,{"a":2}]\n',
        '{"a":1}\n\n{"b":2}{"c":3}\n',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_are_read_together_are_what_they_are_alone(tmp_path, torn, end):
    """Objects over lines and several in a line may not make up for each other."""
    good = '{"x":"}{","y":{"z":[{}]}}\n'
    lines = [line for line in (good + torn + good).split("\n") if line.strip()]

    records, refused = read(tmp_path, (good + torn + good).replace("\n", end).encode(), line_delimiter=end)

    assert records == [value for line in lines if isinstance(value := _value_of(line), dict)]
    assert len(records) + len(refused) == len(lines)


def _value_of(line):
    try:
        return json.loads(line)
    except ValueError:
        return None
