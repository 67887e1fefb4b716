"""Clients of the real system upload, list and delete bundles; see test_clients.py."""

import base64
import hashlib
import io
import json
import shutil
import zipfile

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm"),
]

COLUMNS = "name version id _created description node_version platform arch"


def bundle(path, name, version):
    """Write a bundle; its id, which is that of Teraslice."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("asset.json", json.dumps({"name": name, "version": version}))
        archive.writestr("padding.txt", "bytes that make a stream of more than one chunk\n" * 10_000)
    path.write_bytes(content.getvalue())
    return hashlib.sha1(base64.b64encode(content.getvalue())).hexdigest()


@pytest.fixture(scope="module", params=["published", "current"])
def client(request, drive, tmp_path_factory):
    """The name of a client, the ids of its two bundles, and what its steps came to."""
    folder = tmp_path_factory.mktemp("bundles")
    name = f"{request.param}-bundle"
    paths = [folder / "first.zip", folder / "second.zip"]
    ids = [bundle(path, name, f"{number}.0.0") for number, path in enumerate(paths, 1)]
    suffix = {"published": "cjs", "current": "mjs"}[request.param]
    return name, ids, drive(f"{request.param}-assets.{suffix}", *paths)


def test_clients_upload_a_bundle_whole_again_and_as_a_stream(client):
    _, (first, second), found = client

    assert found["upload"] == {"asset_id": first}
    assert found["upload again"] == {"asset_id": first}
    assert found["upload a stream"] == {"asset_id": second}


def test_clients_find_bundles(client):
    name, (first, second), found = client
    by_version = found["list by version"]

    assert {first, second} <= {entry["id"] for entry in found["list"]}
    assert {entry["id"] for entry in found["list by name"]} == {first, second}
    assert [(entry["id"], entry["name"], entry["version"]) for entry in by_version] == [
        (first, name, "1.0.0")
    ]
    assert found["list the unknown"] == []


def test_clients_read_the_table_of_bundles(client):
    name, ids, found = client

    assert found["txt"].splitlines()[0].split() == COLUMNS.split()
    assert all(asset_id in found["txt by name"] for asset_id in ids)
    assert name in found["txt"]


def test_clients_delete_a_bundle_once(client):
    """The command-line client looks for the words of the second answer."""
    _, (first, second), found = client

    assert found["delete"] == {"asset_id": first}
    assert found["delete again"]["code"] == 404
    assert f"Unable to find asset {first}" in found["delete again"]["message"]
    assert found["delete what is no id"]["code"] == 400
    assert found["delete the other"] == {"asset_id": second}


def test_clients_hear_that_something_is_no_bundle(client):
    _, _, found = client

    assert found["upload no zip"]["code"] >= 400
    assert "File type not recognized as zip." in found["upload no zip"]["message"]
