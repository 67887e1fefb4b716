import json

import pytest

from tsd.assets.manifest import read_manifest
from tsd.errors import AssetInvalid


def manifest(**fields):
    return read_manifest(json.dumps({"name": "ex", "version": "1.0.0"} | fields).encode())


def test_falsy_restrictions_hold_everywhere():
    """Point 8 of bundles."""
    found = manifest(platform=False, arch="", node_version=None, python_version=0, description="")

    assert (found.platform, found.arch, found.node_version, found.python_version, found.description) == (
        (None,) * 5
    )


@pytest.mark.parametrize("value", [22, "22", "22.1.0", "v22.1", "^22", ">=22.0.0"], ids=repr)
def test_the_version_of_node_is_its_major(value):
    assert manifest(node_version=value).node_version == 22


def test_what_nobody_reads_is_kept():
    assert json.loads(manifest(team={"a": [1]}).text())["team"] == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "Failure parsing asset.json"),
        (b"[]", "Failure parsing asset.json"),
        (b"\xff\xfe{}", "Failure parsing asset.json"),
        (b"[" * 100_000, "Failure parsing asset.json"),
        (b"{}", "Missing name"),
        (b'{"name": ""}', "Missing name"),
        (b'{"name": "a"}', 'Invalid version ""'),
        (b'{"name": "a", "version": "1.0"}', 'Invalid version "1.0"'),
        (b'{"name": "a", "version": 1}', 'Invalid version "1"'),
        (b'{"name": "a:b", "version": "1.0.0"}', 'Invalid name "a:b"'),
        (b'{"name": "a/b", "version": "1.0.0"}', "Invalid name"),
        (b'{"name": ["a"], "version": "1.0.0"}', "Invalid name"),
        (b'{"name": "a", "version": "1.0.0", "platform": 1}', "platform must be a text"),
        (b'{"name": "a", "version": "1.0.0", "node_version": "new"}', "Invalid node_version"),
        (b'{"name": "a", "version": "1.0.0", "node_version": [22]}', "Invalid node_version"),
        (b'{"name": "a", "version": "1.0.0", "python_version": 3.1}', "python_version must be a text"),
        (b'{"name": "a", "version": "1.0.0", "python_version": ">=3"}', "Invalid python_version"),
        (b'{"name": "a", "version": "1.0.0", "module": "os; x"}', "module must be"),
        (b'{"name": "a", "version": "1.0.0", "module": ["ops", 1]}', "module must be"),
    ],
)
def test_each_fault_is_named(text, words):
    """Point 6 of bundles."""
    with pytest.raises(AssetInvalid, match=words):
        read_manifest(text)


@pytest.mark.parametrize("product", ["tsd", "teraslice"])
def test_a_bundle_for_a_later_release_is_refused(product):
    """Point 9 of bundles."""
    later = manifest(**{f"minimum_{product}_version": "2.10.0"})

    later.check_release(tsd="2.10.0", teraslice="2.10.0")
    with pytest.raises(AssetInvalid, match=rf"Asset requires {product} version 2\.10\.0 or greater\."):
        later.check_release(tsd="2.9.0", teraslice="2.9.0")
