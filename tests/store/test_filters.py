"""Filters on real rows: compared with plain Python, and with whatever people may type."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from tests.support.stores import ERROR as SLICE_ERROR
from tests.support.stores import add_execution, batch_of, connected, new_execution, slice_row, status_save
from tsd.errors import InvalidRequest
from tsd.ids import slice_id
from tsd.store import sqlite
from tsd.store.documents import stored_execution
from tsd.store.executions import ApplySaves, list_executions
from tsd.store.fields import ERROR_FIELDS, EXECUTION_FIELDS, JOB_FIELDS
from tsd.store.filters import condition_of
from tsd.store.jobs import CreateJob, list_jobs
from tsd.store.listing import Page
from tsd.store.records import list_errors
from tsd.store.schema import executions

NOW_MS = 1_769_904_000_000
"""2026-02-01T00:00:00Z."""


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with connected(tmp_path_factory.mktemp("filters")) as opened:
        yield opened


# --- what rows may hold --------------------------------------------------------------------------------

KEYWORDS = [
    "once",
    "persistent",
    "Once",
    "a*b",
    "a?b",
    "a[b]",
    "a b",
    "AND",
    "-1",
    "a\\b",
    'a"b',
    "é",
    "/x/",
    "",
]
TEXTS = [
    "Nightly import",
    "import NIGHTLY",
    "nightly",
    "Größe 2",
    "größe",
    "a_b-c",
    "...",
    "x import y nightly",
    "",
]
STATUSES = ["running", "failed", "paused"]
TIMES = [
    datetime(2025, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 15, 12, 30, 15, 500000, tzinfo=UTC),
    datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(2026, 2, 1, tzinfo=UTC),
]
NUMBERS = [0, 1, 2, 2.5, -3, 10, 9_007_199_254_740_993]

documents = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(TEXTS),
        "lifecycle": st.sampled_from(KEYWORDS),
        "log_level": st.sampled_from(KEYWORDS),
        "assets": st.lists(st.sampled_from(KEYWORDS), max_size=3),
        "workers": st.sampled_from([*NUMBERS, "2", "10"]),
        "slicers": st.sampled_from(NUMBERS),
        "autorecover": st.booleans(),
    },
)
rows = st.lists(
    st.tuples(documents, st.sampled_from(TIMES), st.sampled_from(STATUSES), st.sampled_from(TEXTS)),
    max_size=6,
)


def stored(connection, rows):
    for number, (document, created, status, reason) in enumerate(rows):
        # Stored without its bundles, which would have to be there, and then given them.
        without = {key: value for key, value in document.items() if key != "assets"}
        new = new_execution(f"e{number}", f"j{number}", document=without)
        new.apply(connection, unix_ms(created))
        whole = update(executions).where(executions.c.ex_id == new.ex_id)
        connection.execute(whole.values(document=stored_execution(document)))
        save = status_save(new.ex_id, "pending", status, failure_reason=reason)
        ApplySaves(saves=(save,)).apply(connection, unix_ms(created))


def unix_ms(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


# --- queries: how they are written, and what they mean by themselves -------------------------------------

DATES = {
    "2026": (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    "2026-01": (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
    "2025-12-31": (datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    "2026-01-15T12": (datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 1, 15, 13, tzinfo=UTC)),
    "2026-01-15T12:30:15.500Z": (TIMES[2], TIMES[2] + timedelta(milliseconds=1)),
    "2026-01-15T13:30:15.500+01:00": (TIMES[2], TIMES[2] + timedelta(milliseconds=1)),
    str(unix_ms(TIMES[3])): (TIMES[3], TIMES[4]),
    "now": (TIMES[4], TIMES[4] + timedelta(milliseconds=1)),
    "now-1d/d": (datetime(2026, 1, 31, tzinfo=UTC), TIMES[4]),
    "2025-12||+1M": (TIMES[1], TIMES[4]),
}
TEXT_FIELDS = ["name", "_failureReason"]
KEYWORD_FIELDS = ["lifecycle", "log_level", "assets", "ex_id", "_status"]
SEARCHED = [*TEXT_FIELDS, *(name for name, field in EXECUTION_FIELDS.items() if field.kind == "keyword")]


def escaped(text):
    return "".join(f"\\{c}" if c in '+-=&|><!(){}[]^"~*?:\\/ ' else c for c in text)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Leaf:
    """A clause: its text, and whether a document fits it."""

    def __init__(self, text, fits):
        self.text, self.fits = text, fits

    def __repr__(self):
        return self.text


def words(text):
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).lower().split()


def has_phrase(text, phrase):
    own, wanted = words(text), words(phrase)
    return bool(wanted) and any(own[i : i + len(wanted)] == wanted for i in range(len(own)))


def values(document, name):
    value = document.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


def has_value(document, name, value):
    if name in TEXT_FIELDS:
        return has_phrase(document.get(name, ""), value)
    return value in values(document, name)


def has_like(document, name, regex):
    if name in TEXT_FIELDS:
        return any(re.fullmatch(regex.lower(), word, re.DOTALL) for word in words(document.get(name, "")))
    return any(re.fullmatch(regex, value, re.DOTALL) for value in values(document, name))


def exists(document, name):
    return bool(words(document.get(name, ""))) if name in TEXT_FIELDS else values(document, name) != []


@st.composite
def value_leaves(draw):
    name = draw(st.sampled_from([*TEXT_FIELDS, *KEYWORD_FIELDS, None]))
    value = draw(st.sampled_from(KEYWORDS + TEXTS + STATUSES + ["e1", "import", "ex"]))
    write = draw(st.sampled_from([escaped, quoted])) if value not in {"", "AND"} else quoted
    prefix = "" if name is None else f"{name}:"
    names = SEARCHED if name is None else [name]
    return Leaf(prefix + write(value), lambda document: any(has_value(document, one, value) for one in names))


@st.composite
def wildcard_leaves(draw):
    name = draw(st.sampled_from([*TEXT_FIELDS, *KEYWORD_FIELDS, None]))
    pieces = draw(
        st.lists(
            st.sampled_from(["*", "?", "a", "b", "n", "On", "e", "[", "im", "é"]), min_size=2, max_size=4
        )
    )
    if not set(pieces) & {"*", "?"}:
        pieces.append("*")
    text = "".join(piece if piece in {"*", "?"} else escaped(piece) for piece in pieces)
    regex = "".join({"*": ".*", "?": "."}.get(piece, re.escape(piece)) for piece in pieces)
    names = SEARCHED if name is None else [name]
    prefix = "" if name is None else f"{name}:"
    return Leaf(prefix + text, lambda document: any(has_like(document, one, regex) for one in names))


@st.composite
def range_leaves(draw):
    kind = draw(st.sampled_from(["number", "date", "keyword"]))
    if kind == "number":
        name, texts = draw(st.sampled_from(["workers", "slicers"])), ["0", "1", "2", "2.5", "-3", "1e1", "3"]
        value_of = float
    elif kind == "date":
        name, texts = "_created", list(DATES)
        value_of = datetime.fromisoformat
    else:
        name, texts = draw(st.sampled_from(["lifecycle", "assets"])), ["a", "once", "p", "é"]
        value_of = str
    low, high = draw(st.sampled_from([None, *texts])), draw(st.sampled_from([None, *texts]))
    is_low_in, is_high_in = draw(st.booleans()), draw(st.booleans())

    def read(text):
        if kind == "date":
            return DATES[text][0], DATES[text][1] - timedelta(milliseconds=1)
        return value_of(text), value_of(text)

    def fits(document):
        def inside(value):
            return (low is None or (value >= read(low)[0] if is_low_in else value > read(low)[1])) and (
                high is None or (value <= read(high)[1] if is_high_in else value < read(high)[0])
            )

        return any(inside(value_of(value)) for value in values(document, name))

    if (low is None) != (high is None) and draw(st.booleans()):
        sign = (">" if high is None else "<") + ("=" if (is_low_in if high is None else is_high_in) else "")
        return Leaf(f"{name}:{sign}{low or high}", fits)
    brackets = "[" if is_low_in else "{", "]" if is_high_in else "}"
    return Leaf(f"{name}:{brackets[0]}{low or '*'} TO {high or '*'}{brackets[1]}", fits)


@st.composite
def exact_leaves(draw):
    kind = draw(st.sampled_from(["number", "date", "boolean", "exists", "all"]))
    if kind == "number":
        name, text = (
            draw(st.sampled_from(["workers", "slicers"])),
            draw(st.sampled_from(["2", "2.5", "-3", "010"])),
        )
        return Leaf(f"{name}:{text}", lambda document: float(text) in map(float, values(document, name)))
    if kind == "date":
        text = draw(st.sampled_from(list(DATES)))
        first, end = DATES[text]
        return Leaf(
            f"_created:{text}", lambda document: first <= datetime.fromisoformat(document["_created"]) < end
        )
    if kind == "boolean":
        text = draw(st.sampled_from(["true", "false"]))
        return Leaf(f"autorecover:{text}", lambda document: document.get("autorecover") is (text == "true"))
    if kind == "exists":
        name = draw(st.sampled_from([*TEXT_FIELDS, *KEYWORD_FIELDS, "workers", "autorecover"]))
        text = draw(st.sampled_from([f"_exists_:{name}", f"{name}:*"]))
        return Leaf(text, lambda document: exists(document, name))
    return Leaf(draw(st.sampled_from(["*", "*:*"])), lambda document: True)


def signed(draw, signs):
    sign = draw(st.sampled_from(signs))
    return sign, draw(st.sampled_from(["NOT ", "!", "! "])) if sign == "NOT" else sign


@st.composite
def combined(draw, parts):
    """Several clauses, in a group so that it can stand anywhere."""
    items = draw(st.lists(parts, min_size=1, max_size=3))
    kind = draw(st.sampled_from(["and", "or", "beside"]))
    signs = [signed(draw, ["", "+", "-", "NOT"] if kind == "beside" else ["", "NOT"]) for _ in items]
    joiner = {"and": [" AND ", "&&", " && "], "or": [" OR ", " || "], "beside": [" ", "  "]}[kind]
    if kind == "or" and len(items) == 1:
        kind = "beside"
    text = items[0].text
    text = (
        draw(st.sampled_from(joiner))
        .join(written + item.text for (_, written), item in zip(signs, items, strict=True))
        .replace("&&", " && ")
    )

    def fits(document):
        found = [(sign, item.fits(document)) for (sign, _), item in zip(signs, items, strict=True)]
        if kind == "and":
            return all(fit is (sign == "") for sign, fit in found)
        if kind == "or":
            return any(fit is (sign == "") for sign, fit in found)
        if any(fit for sign, fit in found if sign in {"-", "NOT"}):
            return False
        required = [fit for sign, fit in found if sign == "+"]
        optional = [fit for sign, fit in found if sign == ""]
        return all(required) if required else any(optional) or not optional

    return Leaf(f"({text})" + draw(st.sampled_from(["", "^2", "^0.5"])), fits)


leaves = st.one_of(value_leaves(), wildcard_leaves(), range_leaves(), exact_leaves())
queries = st.recursive(leaves, combined, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(rows=rows, query=queries)
def test_the_database_finds_what_plain_python_finds(connection, rows, query):
    connection.exec_driver_sql(sqlite.BEGIN_WRITING)
    try:
        stored(connection, rows)
        where = condition_of(query.text, EXECUTION_FIELDS, now_ms=NOW_MS)
        found = list_executions(connection, page=Page(where=where))
        everything = list_executions(connection, page=Page())
    finally:
        sqlite.roll_back(connection)

    assert [one["ex_id"] for one in found] == [one["ex_id"] for one in everything if query.fits(one)]


FIELD_NAMES = [*EXECUTION_FIELDS, "nothing", "*", "_exists_"]
PIECES = st.sampled_from(
    [
        *'()[]{}+-!&|^"~*?:\\/<>= ',
        " AND ",
        " OR ",
        " NOT ",
        " TO ",
        "&&",
        "||",
        "*:*",
        ">=",
        "a",
        "true",
        "2026-01",
    ]
    + ["now-1d", "||+1M", "1e999", "99999999999999999999999", "\x00", "'", ";--", "%", "_", "é"]
    + [f"{name}:" for name in FIELD_NAMES]
)
anything = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=14).map("".join))


@settings(max_examples=250, deadline=None)
@given(text=anything)
def test_any_text_gives_rows_or_a_clear_refusal(connection, text):
    complaints = []
    for fields, rows_of in (
        (JOB_FIELDS, list_jobs),
        (EXECUTION_FIELDS, list_executions),
        (ERROR_FIELDS, list_errors),
    ):
        if not text.strip():
            continue
        try:
            where = condition_of(text, fields, now_ms=NOW_MS)
        except InvalidRequest as error:
            complaints.append(str(error))
            continue
        connection.exec_driver_sql(sqlite.BEGIN_READING)
        try:
            rows_of(connection, page=Page(where=where))
        finally:
            sqlite.roll_back(connection)

    assert all(re.search("at character .*Fields to filter by: ", one, re.DOTALL) for one in complaints)


def ids(connection, text):
    where = condition_of(text, EXECUTION_FIELDS, now_ms=NOW_MS)
    return {one["ex_id"] for one in list_executions(connection, page=Page(where=where))}


@pytest.mark.parametrize(
    "text",
    [
        'name:x" OR 1=1 --',
        "1) OR (1=1",
        "ex_id:x') OR ('1'='1",
        "ex_id:'; DROP TABLE executions; --'",
        "lifecycle:%",
        "lifecycle:_",
    ],
)
def test_nothing_that_is_typed_becomes_part_of_a_statement(connection, text):
    connection.exec_driver_sql(sqlite.BEGIN_WRITING)
    try:
        stored(connection, [({"lifecycle": "once", "name": "a"}, TIMES[0], "running", "")])
        found = ids(connection, text)
    except InvalidRequest:
        found = set()
    finally:
        sqlite.roll_back(connection)

    assert found == set()


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("nothing:1", 1, 'can not filter by "nothing"'),
        ("a AND operations:x", 7, 'can not filter by "operations"'),
        ("_exists_:metadata", 10, 'can not filter by "metadata"'),
        ("workers:many", 1, '"many" is no number'),
        ("workers:2*", 1, "only fields with words"),
        ("workers:[1 TO x]", 15, '"x" is no number'),
        ("autorecover:yes", 1, "neither true nor false"),
        ("_created:yesterday", 1, '"yesterday" is no date'),
        ("_created:>2026-13", 11, '"2026-13" is no date'),
        ("name:[a TO b]", 1, "name has no order"),
        (">5", 1, "a range needs a field"),
        ("workers>5", 8, "a range needs a field"),
        (" ".join("x" * 40), 57, "too many words without a field"),
    ],
)
def test_what_a_field_can_not_answer_is_refused_with_the_place(text, at, what):
    with pytest.raises(InvalidRequest, match=f"at character {at}: .*{re.escape(what)}.*_status"):
        condition_of(text, EXECUTION_FIELDS, now_ms=NOW_MS)


def test_a_job_is_found_by_what_was_posted(connection):
    connection.exec_driver_sql(sqlite.BEGIN_WRITING)
    try:
        CreateJob(job_id="j1", document={"name": "a", "workers": "3", "active": False}).apply(connection, 5)
        CreateJob(job_id="j2", document={"name": "b", "workers": 1}).apply(connection, 6)

        def found(text):
            page = Page(where=condition_of(text, JOB_FIELDS, now_ms=NOW_MS))
            return [job["job_id"] for job in list_jobs(connection, page=page)]

        by_text, by_flag, absent = (
            found("workers:>=2 AND name:A"),
            found("active:false"),
            found("NOT active:true"),
        )
        context = found("_context:job")
    finally:
        sqlite.roll_back(connection)

    assert (by_text, by_flag, absent, context) == (["j1"], ["j1"], ["j2", "j1"], ["j2", "j1"])


async def test_errors_are_found_by_their_slices(store):
    await add_execution(store)
    await add_execution(store, "e2", "j2")
    rows = [slice_row(order, SLICE_ERROR, updated=1000 * order, error=f"bad {order}") for order in range(3)]
    await store.store_records(batch_of(rows))
    await store.store_records(batch_of(rows[:1], "e2"))

    async def found(text):
        page = Page(sort="slicer_order", where=condition_of(text, ERROR_FIELDS, now_ms=NOW_MS))
        return [(one["ex_id"], one["slicer_order"]) for one in await store.list_errors(page)]

    assert await found("slicer_order:>=1") == [("e1", 1), ("e1", 2)]
    assert await found("ex_id:e2") == [("e2", 0)]
    assert await found("slicer_id:0 AND state:error -slicer_order:0") == [("e1", 1), ("e1", 2)]
    assert await found('error:"bad 1" error:*2') == [("e1", 1), ("e1", 2)]
    own_id = slice_id("e1", 0, 1)
    assert await found(f"slice_id:{own_id}") == [("e1", 1)]
    assert await found(f"slice_id:{own_id[:8]}*") == [("e1", 1)]
    assert await found("_updated:>=1970-01-01T00:00:02") == [("e1", 2)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("_created:>=2026-01-01", [1, 2, 3]),
        ("_created:>2026-01-01", [3]),
        ("_created:<2026-01-01", [0]),
        ("_created:<=2026-01-01", [0, 1, 2]),
        ("_created:{2026-01-01 TO *]", [3]),
        ("_created:[* TO 2026-01-01}", [0]),
        ("_created:2026-01-01", [1, 2]),
    ],
)
def test_a_date_without_a_time_is_a_whole_day_at_both_ends_of_a_range(tmp_path, text, found):
    moments = ["2025-12-31T23:59:59.999", "2026-01-01T00:00:00", "2026-01-01T23:59:59.999", "2026-01-02"]
    with connected(tmp_path) as connection:
        for number, moment in enumerate(moments):
            at_ms = round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
            CreateJob(job_id=f"j{number}", document={}).apply(connection, at_ms)
        where = condition_of(text, JOB_FIELDS, now_ms=NOW_MS)

        rows = list_jobs(connection, page=Page(sort="_created", where=where))

    assert [row["job_id"] for row in rows] == [f"j{number}" for number in found]
