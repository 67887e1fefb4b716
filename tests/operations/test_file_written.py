"""What writers write is read back as it was, or that record is rejected with the reason."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.files import read_all, source
from tests.support.pipelines import REGISTRY, checked
from tsd.errors import JobInvalid
from tsd.operations.config import load
from tsd.operations.context import OpContext
from tsd.operations.json_values import holds_json, json_fault
from tsd.operations.pipeline import Pipeline
from tsd.operations.record import Record
from tsd.operations.registry import Registry
from tsd.operations.standard.compression import decompress
from tsd.operations.standard.file_encode import FileEncoder, group_by_folder
from tsd.operations.standard.file_exporter import FileExporterConfig

SIGNS = [
    "a",
    "n",
    "1",
    " ",
    '"',
    ",",
    "\n",
    "\r",
    "\r\n",
    "\u00a0",
    "\u2028",
    "\x0b",
    "\0",
    "\ufeff",
    "é",
    "😀",
    "\\",
]
TEXTS = st.lists(st.sampled_from([*SIGNS, "|", ";", "{", "}", ":", "\t"]), max_size=6).map("".join)
NO_JSON = [
    float("nan"),
    float("inf"),
    float("-inf"),
    b"x",
    bytearray(b"x"),
    {1, 2},
    frozenset("a"),
    "\ud800",
    Decimal("NaN"),
]
NESTED = st.sampled_from(NO_JSON).flatmap(
    lambda bad: st.sampled_from([bad, [bad], {"x": bad}, {"x": [1, {"y": bad}]}])
)
PLAIN = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=2), st.dictionaries(TEXTS, PLAIN, max_size=2), NESTED)
RECORDS = st.lists(st.fixed_dictionaries({"data": VALUES, "k": VALUES}), min_size=1, max_size=5)
DELIMITERS = st.sampled_from(
    [None, "\n", "\r\n", "\r", "|", "|;|", "||", "n", "ab", "é", "😀", '"', "}", ":", "u"]
)


def encoded(form, records, **options):
    """Content, and what was rejected with the reason."""
    config, _ = load(FileExporterConfig, {"_op": "file_exporter", "path": "x", "format": form, **options})
    rejects = []
    encoder = FileEncoder(config, lambda record, error: rejects.append((record, str(error))))
    data = encoder.encode(records)
    return encoder.whole([data]) if encoder.is_appendable else data, rejects


def is_json(value):
    """By another judge."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) == value
    except (TypeError, ValueError):
        return False


def cell(value):
    if isinstance(value, str):
        return value
    return "" if value is None else encoded_text(value)


def encoded_text(value):
    data, _ = encoded("ldjson", [Record(v=value)])
    return data.decode()[len('{"v":') : -len("}\n")]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=RECORDS,
    form=st.sampled_from(["ldjson", "json", "csv", "tsv", "raw"]),
    line=DELIMITERS,
    size_b=st.integers(1, 30),
    compression=st.sampled_from(["none", "none", "gzip"]),
)
def test_what_is_written_is_read_back_and_the_rest_rejected(
    tmp_path, *, records, form, line, size_b, compression
):
    records = [Record(record) for record in records]
    options = {"compression": compression} | ({"line_delimiter": line} if line else {})
    try:
        data, rejects = encoded(form, records, include_header=True, **options)
    except JobInvalid:
        return  # a delimiter that csv can not have
    refused = {id(record) for record, _ in rejects}
    kept = [record for record in records if id(record) not in refused]
    (tmp_path / "f").write_bytes(data)
    tables = {"ignore_empty": False, "extra_args": {"trim": False}} if form in ("csv", "tsv") else {}
    whole = form == "json" or compression != "none"
    found = []
    if data:
        cut = {} if whole else {"size": size_b}
        found = read_all(source(tmp_path / "f", form, **options, **tables, **cut))

    if form == "raw":
        texts = [record["data"] for record in kept]
        assert found == [{"data": text if isinstance(text, str) else bytes(text).decode()} for text in texts]
        return
    assert all(is_json(record["data"]) and is_json(record["k"]) for record in kept)
    if form in ("csv", "tsv"):
        assert found == [{name: cell(value) for name, value in record.items()} for record in kept]
        assert all(not (is_json(record["data"]) and is_json(record["k"])) for record, _ in rejects)
    else:
        assert found == kept


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;| é"),
)
def test_csv_is_that_of_pythons_csv_and_ldjson_that_of_pythons_json(records, delimiter):
    records = [Record(record) for record in records]
    data, rejects = encoded("csv", records, field_delimiter=delimiter, include_header=True)
    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))

    assert rejects == []
    assert [dict(zip(rows[0], row, strict=True)) for row in rows[1:]] == records
    lines = encoded("ldjson", records)[0].decode().split("\n")
    assert [json.loads(line) for line in lines if line] == records


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ldjson", "json", "csv", "tsv"])
@pytest.mark.parametrize("bad", NO_JSON, ids=range(len(NO_JSON)))
@pytest.mark.parametrize(
    "wrap", [lambda bad: bad, lambda bad: [None, bad], lambda bad: {"u": {"v": bad}}], ids=range(3)
)
def test_a_value_that_json_does_not_have_rejects_its_record_alone(form, bad, wrap):
    records = [Record(a=1, n=None), Record(a=wrap(bad), n=None), Record(a=2.5, n="null")]

    data, rejects = encoded(form, records)
    assert [record for record, _ in rejects] == [records[1]] or rejects[0][0] is records[1]
    assert len(rejects) == 1
    assert encoded(form, [records[0], records[2]])[0] == data
    assert "field a" in rejects[0][1] or "surrogate pair" in rejects[0][1]


def test_dates_numbers_and_uuids_become_text_as_ever():
    record = Record(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        day=date(2026, 1, 2),
        price=Decimal("1.50"),
        id=UUID(int=1),
        pair=(1, 2),
    )

    data, rejects = encoded("ldjson", [record, Record(x=None, y=1.5)])
    assert rejects == []
    assert json.loads(data.splitlines()[0]) == {
        "at": "2026-01-02T00:00:00Z",
        "day": "2026-01-02",
        "price": "1.50",
        "id": "00000000-0000-0000-0000-000000000001",
        "pair": [1, 2],
    }


@given(RECORDS)
def test_a_quick_look_is_never_wrong_about_what_it_is_sure_of(records):
    records = [Record(record) for record in records]
    text = b"null"

    if holds_json(records, text):
        assert not any(map(json_fault, records))


@pytest.mark.parametrize("fields", [[], ["v"]])
def test_what_is_nested_too_deep_is_rejected_alone(fields):
    deep = {"v": 1}
    for _ in range(3000):
        deep = {"v": deep}
    records = [Record(v=1), Record(deep), Record(v=2)]

    for form in ("ldjson", "json", "csv"):
        data, rejects = encoded(form, records, fields=fields)
        assert (len(rejects), data.count(b"1"), data.count(b"2")) == (1, 1, 1)
        assert "nested too deep" in rejects[0][1]


# --- delimiters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        ("|", "x|y", b'{"a":"x\\u007cy"}|'),
        ("|;|", "|;|;|", b'{"a":"\\u007c;\\u007c;\\u007c"}|;|'),
        ("n", "\nn", b'{"a":"\\n\\u006e"}n'),
        ("😀", "😀", b'{"a":"\\ud83d\\ude00"}\xf0\x9f\x98\x80'),
        ("é", "x", '{"a":"x"}é'.encode()),
    ],
)
def test_a_delimiter_in_json_text_is_escaped(line, text, expected):
    data, rejects = encoded("ldjson", [Record(a=text)], line_delimiter=line)

    if line == "n":  # the escape of a line break has one too, and stays
        assert [reason for _, reason in rejects] == ["its JSON has the line_delimiter 'n' outside of texts"]
    else:
        assert (data, rejects) == (expected, [])


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a\nb", {}, "field data has the line_delimiter '\\n'"),
        ("a\r", {}, "ends with a carriage return"),
        ("a||b", {"line_delimiter": "||"}, "has the line_delimiter '||'"),
        ("a|", {"line_delimiter": "||"}, "has the line_delimiter '||'"),
        ("\ud800", {}, "half of a surrogate pair"),
        (5, {}, "holds no text"),
    ],
)
def test_raw_text_that_would_be_torn_is_rejected_alone(text, options, words):
    data, rejects = encoded("raw", [Record(data="x"), Record(data=text), Record(data="y")], **options)

    end = options.get("line_delimiter", "\n")
    assert data == f"x{end}y{end}".encode()
    assert len(rejects) == 1
    assert words in rejects[0][1]


@pytest.mark.parametrize("version", ["\r", "a\rb", "\rb", "a\r\nb", "a\n"])
def test_carriage_returns_in_cells_are_quoted_by_any_python(version):
    data, _ = encoded("csv", [Record(a=version, b=1)], include_header=False)

    assert data == f'"{version}",1\n'.encode()


def test_a_first_cell_like_a_byte_order_mark_is_read_back(tmp_path):
    for form, name in (("csv", "\ufeffa"), ("raw", "data")):
        data, _ = encoded(form, [Record({name: "\ufeffx"})], include_header=form == "csv")
        (tmp_path / "f").write_bytes(data)
        assert read_all(source(tmp_path / "f", form)) == [{name: "\ufeffx"}]


def test_compressed_files_hold_the_same():
    records = [Record(data="\ufeffx")]

    plain = encoded("raw", records)[0]
    packed = encoded("raw", records, compression="gzip")[0]
    assert b"".join(decompress([packed], "gzip", most_b=100)) == plain


@pytest.mark.parametrize("line", ["a,b", '"', ","])
def test_a_line_delimiter_that_cells_have_is_refused(line):
    with pytest.raises(JobInvalid, match="must not hold the field delimiter or a quote"):
        encoded("csv", [], line_delimiter=line)


@pytest.mark.parametrize("bad", [float("nan"), b"x", {1}, "\ud800"], ids=range(4))
def test_a_value_that_can_be_no_folder_rejects_its_record(bad):
    rejects = []
    records = [Record(k="a"), Record(k=bad), Record(k="a", n=1)]

    groups = group_by_folder(records, ["k"], lambda record, error: rejects.append(record))
    assert (list(groups), [record is records[1] for record in rejects]) == (["k=a"], [True])


# --- in a job -----------------------------------------------------------------------------------------


def test_only_jobs_with_code_of_users_are_looked_at():
    own, users = OpContext(), OpContext()

    Pipeline(checked({"_op": "data_generator", "size": 1}, "noop"), REGISTRY, own)
    registry = Registry(["tests.support.sample_operations"])
    Pipeline(checked("list_reader", "noop"), registry, users)
    assert (own.runs_user_code, users.runs_user_code) == (False, True)
