import base64
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tests.support.bundles import id_of
from tsd.assets.identity import AssetDigest, asset_id_of, is_asset_id


@given(st.lists(st.binary(max_size=50)))
def test_the_id_is_that_of_the_base64_text_however_the_bytes_come(pieces):
    """Point 90: what clients compute over the whole."""
    digest = AssetDigest()
    for piece in pieces:
        digest.update(piece)

    whole = b"".join(pieces)
    assert digest.asset_id() == hashlib.sha1(base64.b64encode(whole)).hexdigest()


def test_the_id_of_a_file_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 3000
    (tmp_path / "x.zip").write_bytes(data)

    assert asset_id_of(tmp_path / "x.zip") == id_of(data)


def test_an_id_is_forty_small_hex_digits():
    assert is_asset_id("a" * 40)
    assert not any(map(is_asset_id, ["a" * 39, "A" * 40, "g" * 40, "a" * 40 + "\n", "../" + "a" * 37]))
