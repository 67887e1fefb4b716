"""Frames and messages: what goes in comes out, and bytes from outside only ever raise `RemoteWireError`."""

import math
import random

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.values import values_of
from tests.support.mesh import CODEC, Note
from tsd.core.counts import MeshCounts
from tsd.core.kinds import KINDS
from tsd.core.messages import NodeBeat, ProcessExit, Results, Wanted, WorkerBye
from tsd.errors import LocalWireError, RemoteWireError
from tsd.mesh.codec import Codec

PRODUCT = Codec(KINDS)
EXIT = {"proc_id": "ex/1/w1.1", "ex_id": "ex", "exit_code": 0, "signal": None}


@attrs.frozen(kw_only=True)
class Checked:
    age: int = attrs.field(validator=attrs.validators.ge(0))
    extra: object = None


@attrs.frozen
class Ambiguous:
    """Bytes can not tell which of the two is meant."""

    items: list[int] | tuple[int, ...]


CHECKED = Codec({"checked": Checked}, body_bytes_max=1000)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_message_comes_back_as_it_was(kind, data):
    message = data.draw(values_of(KINDS[kind]))
    frames = PRODUCT.encode(message)

    assert frames[0] == kind.encode()
    assert PRODUCT.decode(frames) == message
    assert type(PRODUCT.decode(frames)) is KINDS[kind]


@given(kind=st.sampled_from(list(KINDS)), body=st.binary(max_size=60))
def test_random_bytes_raise_nothing_but_remote_wire_error(kind, body):
    decode_or_refuse([kind.encode(), body])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_damaged_messages_raise_nothing_but_remote_wire_error(kind, data):
    body = bytearray(PRODUCT.encode(data.draw(values_of(KINDS[kind])))[1])
    rng = random.Random(data.draw(st.integers()))
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(body))
        if rng.random() < 0.5:
            body[where] = rng.randrange(256)
        else:
            body[where : where + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        if not body:
            break
    decode_or_refuse([kind.encode(), bytes(body)])


def decode_or_refuse(frames):
    try:
        message = PRODUCT.decode(frames)
    except RemoteWireError:
        return
    assert type(message) is KINDS[frames[0].decode()]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "0 frames"),
        ([b"note"], "1 frames"),
        ([b"note", b"\x81\xa1n\x01", b""], "3 frames"),
        ([b"nope", b"\x81\xa1n\x01"], "'nope' is no kind of this link"),
        ([b"", b""], "'' is no kind of this link"),
        ([b"\xff" * 5000, b""], "is no kind of this link"),
        ([b"note", b""], "truncated"),
        ([b"note", b"\x80"], "missing required field"),
        ([b"note", b"\x81\xa1n\xa1x"], "Expected `int`"),
        ([b"note", b"\x81\xa1n\x01\x01"], "trailing"),
        ([b"note", b"\x82\xa1n\x01\xa4text\xa1\xff"], "utf-8"),
        ([b"note", b"\xc1"], "note can not be read"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(frames, reason):
    with pytest.raises(RemoteWireError, match=reason):
        CODEC.decode(frames)


def test_a_reason_does_not_repeat_a_long_kind():
    with pytest.raises(RemoteWireError) as caught:
        CODEC.decode([b"k" * 100_000, b""])

    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("kind", "message", "change"),
    [
        ("node-beat", NodeBeat(revision=1, runs=(), exits=()), {"revision": 2**63}),
        ("node-beat", NodeBeat(revision=1, runs=(), exits=()), {"revision": -2}),
        ("node-beat", NodeBeat(revision=1, runs=(), exits=()), {"mesh": {"messages_in": -1}}),
        ("node-beat", NodeBeat(revision=1, runs=(), exits=()), {"mesh": {"bytes_in": 2**60}}),
        ("node-beat", NodeBeat(revision=1, runs=(), exits=()), {"exits": [EXIT | {"proc_id": "other/1"}]}),
    ],
)
def test_a_report_that_can_not_be_true_is_refused(kind, message, change):
    fields = msgspec.msgpack.decode(PRODUCT.encode(message)[1])

    with pytest.raises(RemoteWireError):
        PRODUCT.decode([kind.encode(), msgspec.msgpack.encode(fields | change)])


@pytest.mark.parametrize(
    "fields",
    [
        {"age": -1},
        {"age": 1, "extra": msgspec.msgpack.Ext(5, b"x")},
        {"age": 1, "extra": "x" * 1000},
        {"age": 2**64 - 1, "extra": {1: {2: [None] * 990}}},
    ],
    ids=["validator", "extension", "too big", "too big nested"],
)
def test_what_the_class_does_not_allow_is_refused(fields):
    with pytest.raises(RemoteWireError):
        CHECKED.decode([b"checked", msgspec.msgpack.encode(fields)])


def test_nesting_without_end_is_refused():
    with pytest.raises(RemoteWireError, match="recursion"):
        Codec({"checked": Checked}).decode([b"checked", b"\x82\xa3age\x01\xa5extra" + b"\x91" * 200_000])


def test_unknown_fields_are_ignored_so_that_a_newer_peer_may_add_some():
    assert CODEC.decode([b"note", msgspec.msgpack.encode({"n": 1, "new": True})]) == Note(n=1)


@pytest.mark.parametrize(
    "extra",
    [2**70, object(), 1j, "x" * 1000],
    ids=["big number", "object", "complex", "too big"],
)
def test_what_has_no_encoding_is_our_own_fault(extra):
    with pytest.raises(LocalWireError, match="Checked"):
        CHECKED.encode(Checked(age=1, extra=extra))


def test_what_utf_8_does_not_have_is_shown_as_an_escape():
    """File names that are no UTF-8 come into messages by the texts of exceptions."""
    cases = [
        Results(seq=1, done=[2], full=[(3, 3, 0, "caf\udce9", b"\xff", None)], returned=[], busy_us=1),
        WorkerBye(reason="\ud800", mesh=MeshCounts(dropped=3)),
        Wanted(revision=1, workers=1, exits=(ProcessExit(**EXIT | {"detail": "caf\udce9"}),)),
    ]
    results, bye, wanted = [PRODUCT.decode(PRODUCT.encode(message)) for message in cases]

    assert results == attrs.evolve(cases[0], full=[(3, 3, 0, "caf\\udce9", b"\xff", None)])
    assert bye == attrs.evolve(cases[1], reason="\\ud800")
    assert wanted == attrs.evolve(cases[2], exits=(ProcessExit(**EXIT | {"detail": "caf\\udce9"}),))
    with pytest.raises(LocalWireError, match="Checked"):
        CHECKED.encode(Checked(age=1, extra=["\ud800", 2**70]))


def test_a_value_that_holds_itself_is_our_own_fault():
    loop = []
    loop.append(loop)
    with pytest.raises(LocalWireError):
        CHECKED.encode(Checked(age=1, extra=loop))


def test_a_class_that_is_not_registered_is_our_own_fault():
    with pytest.raises(LocalWireError, match="Checked is no message"):
        CODEC.encode(Checked(age=1))


@pytest.mark.parametrize(
    "kinds",
    [
        {"": Note},
        {"größe": Note},
        {"k" * 33: Note},
        {"a\n": Note},
        {"a": Note, "b": Note},
        {"a": Ambiguous},
    ],
)
def test_a_registry_that_can_not_work_is_refused_when_it_is_built(kinds):
    with pytest.raises(LocalWireError):
        Codec(kinds)


def test_floats_that_are_no_numbers_come_back():
    assert math.isnan(CHECKED.decode(CHECKED.encode(Checked(age=1, extra=math.nan))).extra)


def test_a_body_of_exactly_the_largest_size_passes_both_ways():
    codec = Codec({"note": Note}, body_bytes_max=len(CODEC.encode(Note(n=1, text="abc"))[1]))

    assert codec.decode(codec.encode(Note(n=1, text="abc"))) == Note(n=1, text="abc")
    with pytest.raises(LocalWireError):
        codec.encode(Note(n=1, text="abcd"))
    with pytest.raises(RemoteWireError):
        codec.decode(CODEC.encode(Note(n=1, text="abcd")))
