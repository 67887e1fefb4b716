import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsd.errors import InvalidRequest
from tsd.master.api.framing import BodyTooLarge, UnsupportedBody, decode_body, encode_json

JSON = "application/json"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def decode(raw, content_type=JSON, content_encoding=None, size_max=1000):
    return decode_body(raw, content_type=content_type, content_encoding=content_encoding, size_max=size_max)


@pytest.mark.parametrize(
    "content_type",
    [
        JSON,
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/x-www-form-urlencoded;charset=utf-8",
        "application/vnd.job+json",
        None,
    ],
)
def test_a_body_is_json_under_any_json_or_form_type(content_type):
    """Covers 12 of rest-api.md."""
    assert decode(b'{"name": "caf\xc3\xa9"}', content_type) == {"name": "café"}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/json; charset=utf-16", ""]
)
def test_a_body_of_another_type_is_refused_by_name(content_type):
    with pytest.raises(UnsupportedBody):
        decode(b"{}", content_type)


@pytest.mark.parametrize(
    "raw",
    [b"{bad", b'"x"', b"1", b"true", b"null", b"{", b"[NaN]", b"1e999", b'"\\ud800"', b"\xff", b"[" * 5000],
)
def test_what_is_no_json_object_or_array_is_malformed(raw):
    """Covers 10 and 11 of rest-api.md."""
    with pytest.raises(InvalidRequest, match="the json submitted is malformed"):
        decode(raw, size_max=10_000)


def test_an_empty_body_is_an_empty_object():
    """Covers 14 of rest-api.md."""
    assert decode(b"", None) == {}


def test_a_body_nested_deeper_than_anything_sensible_is_refused():
    with pytest.raises(InvalidRequest, match="deep"):
        decode(b"[" * 200 + b"]" * 200)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
def test_a_compressed_body_is_inflated(encoding, compress):
    assert decode(compress(b'{"a": 1}'), content_encoding=encoding) == {"a": 1}


def test_a_small_body_that_inflates_beyond_the_limit_is_too_large():
    bomb = gzip.compress(b'{"a": "' + b"x" * 1_000_000 + b'"}')

    with pytest.raises(BodyTooLarge):
        decode(bomb, content_encoding="gzip")


@pytest.mark.parametrize("raw", [b"not gzip", gzip.compress(b"{}", mtime=0)[:-9]])
def test_a_broken_compressed_body_is_refused(raw):
    with pytest.raises(InvalidRequest):
        decode(raw, content_encoding="gzip")


@given(VALUES)
def test_answers_are_json_indented_by_four(value):
    assert json.loads(encode_json(value)) == value
    assert encode_json({"a": [value]}).startswith(b'{\n    "a": [\n        ')
