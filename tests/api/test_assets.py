"""Bundles over the API of a real master."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.support.bundles import bundle, id_of, zip_of
from tests.support.daemons import cluster_for, until


def upload(api, data, **options):
    return api.post("/assets", content=data, **options)


def left_in(cluster):
    """Files of the folder of bundles that are no stored bundle."""
    stored = {f"{asset['id']}.zip" for asset in cluster.get("/assets?size=1000")}
    return {path.name for path in (cluster.data_dir / "bundles").iterdir()} - stored


def test_a_new_bundle_is_stored_under_the_id_that_clients_compute(master, api):
    """Point 90; point 1 of bundles."""
    data = bundle("stored")
    answer = upload(
        api, data, params={"blocking": "true"}, headers={"Content-Type": "application/octet-stream"}
    )

    assert (answer.status_code, answer.json()) == (201, {"asset_id": id_of(data)})
    assert (master.data_dir / f"bundles/{id_of(data)}.zip").read_bytes() == data


def test_the_same_bytes_again_change_nothing(api):
    """Point 91."""
    data = bundle("again")
    upload(api, data)
    before = api.get("/assets/again").json()
    answer = upload(api, data)

    assert (answer.status_code, answer.json()) == (200, {"asset_id": id_of(data)})
    assert api.get("/assets/again").json() == before


def test_the_same_bytes_repair_a_zip_that_was_lost(master, api):
    """Point 32 of bundles."""
    data = bundle("repaired")
    upload(api, data)
    path = master.data_dir / f"bundles/{id_of(data)}.zip"
    path.unlink()
    answer = upload(api, data)

    assert answer.status_code == 200
    assert path.read_bytes() == data


def test_a_chunked_upload_needs_no_content_type(api):
    """Point 92."""
    data = bundle("chunked", files={"ops/__init__.py": "# " + "x" * 300_000})
    answer = upload(api, iter([data[:10], data[10:1000], data[1000:]]))

    assert (answer.status_code, answer.json()) == (201, {"asset_id": id_of(data)})


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-8",
        "multipart/form-data; boundary=x",
    ],
)
def test_what_says_that_it_is_a_form_or_json_is_refused(api, kind):
    """Point 93; point 10 of bundles."""
    answer = upload(api, bundle("form"), headers={"Content-Type": kind})

    assert answer.status_code == 400
    assert answer.json() == {"error": 400, "message": "/asset endpoints do not accept json"}


@pytest.mark.parametrize("blocking", ["true", "false", "1", ""])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Failed to save asset. File type not recognized as zip."),
        (b"{}", "Failed to save asset. File type not recognized as zip."),
        (zip_of({"a": "b"}), "asset.json was not found in root directory of asset bundle"),
        (zip_of({"asset.json": "{"}), "Failure parsing asset.json"),
        (zip_of({"asset.json": '{"version": "1.0.0"}'}), "Missing name"),
        (zip_of({"asset.json": '{"name": "a", "version": "1.0"}'}), 'Invalid version "1.0"'),
        (bundle("late", minimum_tsd_version="99.0.0"), "Asset requires tsd version 99.0.0 or greater."),
        (bundle("late", minimum_teraslice_version="v99.0.0"), "Asset requires teraslice version v99.0.0"),
        (bundle("bad", files={"../evil": "x"}), "leads out of the bundle"),
        (bundle("bad", module="absent"), "the module absent that asset.json names is not in the bundle"),
    ],
    ids=[
        "nothing",
        "json",
        "no manifest",
        "half a manifest",
        "no name",
        "short version",
        "tsd",
        "teraslice",
        "path",
        "module",
    ],
)
def test_a_bad_bundle_is_refused_whether_blocking_or_not(master, api, data, words, blocking):
    """Points 94 and 95; points 5, 6, 9, 11 and 35 of bundles."""
    answer = upload(api, data, params={"blocking": blocking})

    assert answer.status_code == 422
    assert answer.json()["error"] == 422
    assert words in answer.json()["message"]
    assert left_in(master) == set()


def test_blocking_is_a_boolean(api):
    assert upload(api, bundle("blocking"), params={"blocking": "maybe"}).status_code == 400


def test_another_bundle_of_the_same_name_and_version_is_refused(master, api):
    """Point 96; point 3 of bundles."""
    first, second = bundle("twice"), bundle("twice", files={"a": "b"})
    upload(api, first)
    answer = upload(api, second, params={"blocking": "false"})

    assert answer.status_code == 409
    assert answer.json()["message"] == (
        'Asset name:"twice" AND version:"1.0.0" already exists, please increment the version and send again'
    )
    assert [asset["id"] for asset in api.get("/assets/twice").json()] == [id_of(first)]
    assert left_in(master) == set()


def test_bundles_that_no_host_can_mistake_may_share_a_version(api):
    """Point 4 of bundles: whichever comes first, two that one host could run are refused."""
    for platform in ("linux", "darwin"):
        assert upload(api, bundle("split", platform=platform)).status_code == 201
    assert upload(api, bundle("split", platform="linux", arch="arm64")).status_code == 409
    assert upload(api, bundle("split")).status_code == 409
    assert upload(api, bundle("whole")).status_code == 201
    assert upload(api, bundle("whole", platform="linux")).status_code == 409


def test_a_bundle_is_listed_with_what_it_says(api):
    """Points 97 of the API, 7, 8 and 12 of bundles."""
    data = bundle(
        "described",
        "v1.2.3",
        description="all there is",
        node_version="22.1.0",
        platform="linux",
        arch=False,
        team="x",
        files={"index.js": "export {}"},
    )
    upload(api, data)
    (asset,) = api.get("/assets/described").json()

    assert list(asset) == ["_created", "name", "version", "description", "platform", "node_version", "id"]
    assert {**asset, "_created": ""} == {
        "_created": "",
        "name": "described",
        "version": "1.2.3",
        "description": "all there is",
        "node_version": 22,
        "platform": "linux",
        "id": id_of(data),
    }


def test_lists_are_of_a_name_and_a_version(api):
    """Point 97."""
    for version in ("1.0.0", "1.10.0", "2.0.0"):
        upload(api, bundle("listed", version))

    def versions(path, **query):
        return [asset["version"] for asset in api.get(path, params=query).json()]

    assert versions("/assets/listed") == ["2.0.0", "1.10.0", "1.0.0"]
    assert versions("/v1/assets/listed/1.10.0/") == ["1.10.0"]
    assert versions("/assets/listed/1.1") == []
    assert versions("/assets/absent") == []
    assert versions("/assets/list*/1.*") == ["1.10.0", "1.0.0"]
    assert versions("/assets/*/2.0.0") == ["2.0.0"]
    assert versions("/assets/LISTED") == []
    assert versions("/assets/list[e]d*") == []
    assert versions("/assets/listed", size=1, **{"from": 1}) == ["1.10.0"]
    assert versions("/assets/listed", sort="version:asc") == ["1.0.0", "1.10.0", "2.0.0"]
    assert api.get("/assets", params={"sort": "blob"}).status_code == 400
    assert api.get("/assets", params={"size": "x"}).status_code == 400


def test_bundles_are_deleted_by_their_id(master, api):
    """Points 98 to 100; point 14 of bundles."""
    data = bundle("gone")
    upload(api, data)

    assert api.delete(f"/assets/{id_of(data)}").json() == {"asset_id": id_of(data)}
    assert api.get("/assets/gone").json() == []
    assert left_in(master) == set()
    answer = api.delete(f"/assets/{id_of(data)}")
    assert (answer.status_code, answer.json()["message"]) == (404, f"Unable to find asset {id_of(data)}")
    words = "asset abc is not formatted correctly, please provide the full asset_id"
    answer = api.delete("/assets/abc")
    assert (answer.status_code, answer.json()) == (400, {"error": words, "message": words})
    assert api.delete(f"/assets/{'Z' * 40}").status_code == 404
    assert upload(api, data).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/assets/a/b/c", 404),
        ("GET", "/assetsfoo", 404),
        ("DELETE", "/assets", 405),
        ("PUT", "/assets", 405),
        ("POST", "/txt/assets", 405),
        ("POST", "/assets/ex", 405),
    ],
)
def test_other_paths_are_answered_in_json(api, method, path, status):
    answer = api.request(method, path, content=b"PK")

    assert (answer.status_code, answer.json()["error"]) == (status, status)


def test_the_table_has_the_columns_that_clients_know(api):
    """Points 101 and 107; point 13 of bundles."""
    upload(api, bundle("tabled", description="0123456789" * 4))
    header, _, row = api.get("/txt/assets/tabled").text.splitlines()

    assert header.split() == [
        "name",
        "version",
        "id",
        "_created",
        "description",
        "node_version",
        "platform",
        "arch",
    ]
    assert row[header.index("description") :].strip() == "0123456789" * 3
    assert "N/A" not in row
    assert api.get("/txt/assets/tabled/1.0.0?fields=name,team&headers=false").text == "tabled  \n"
    assert len(api.get("/v1/txt/assets/tab*").text.splitlines()) == 3


def test_posts_from_pages_of_others_are_refused_after_their_body(api):
    answer = upload(api, bundle("foreign", files={"a": bytes(3_000_000)}), headers={"Origin": "http://evil"})

    assert answer.status_code == 400
    assert api.get("/assets/foreign").json() == []


@pytest.fixture(scope="module")
def small(request, tmp_path_factory):
    """A master that takes small bundles only, and has some to load."""
    folder = tmp_path_factory.mktemp("small")
    autoload = folder / "data/autoload"
    autoload.mkdir(parents=True)
    (autoload / "b.zip").write_bytes(bundle("auto", "2.0.0"))
    (autoload / "a.zip").write_bytes(bundle("auto", "1.0.0"))
    (autoload / "c.zip").write_bytes(b"no zip")
    (autoload / "d.zip").write_bytes(bundle("auto", "1.0.0", description="another"))
    (autoload / "e.txt").write_bytes(bundle("text"))
    bundles = folder / "data/bundles"
    bundles.mkdir()
    (bundles / "0123.partial").write_bytes(b"half of an upload")
    (bundles / f"{'a' * 40}.zip").write_bytes(b"a bundle without a record")
    with cluster_for(request, folder, **{"tsd.max_asset_size": "100 KiB"}) as cluster:
        cluster.start_master()
        yield cluster


def test_bundles_of_a_folder_are_loaded_before_the_master_is_ready(small):
    """Point 31 of bundles."""
    assert [asset["version"] for asset in small.get("/assets/auto?sort=_created:asc")] == ["1.0.0", "2.0.0"]
    lines = [json.loads(line) for line in small.daemons["master"].log.splitlines() if "asset." in line]
    refused = {
        line["path"].rpartition("/")[2]: line["reason"] for line in lines if "not_loaded" in line["msg"]
    }
    assert sorted(refused) == ["c.zip", "d.zip"]
    assert "not recognized as zip" in refused["c.zip"]
    assert "already exists" in refused["d.zip"]


def test_what_a_crash_left_is_swept_away(small):
    assert left_in(small) == set()


def test_too_large_a_bundle_is_refused_and_the_connection_stays_usable(small):
    data = bundle("large", files={"a": bytes(range(256)) * 8})
    data += bytes(3_000_000)
    with small.client() as client:
        answer = client.post("/assets", content=data)
        after = client.get("/assets/large")

    assert (answer.status_code, answer.json()["error"]) == (413, 413)
    assert "larger than 102400 bytes" in answer.json()["message"]
    assert after.json() == []
    assert left_in(small) == set()


def test_a_broken_off_upload_leaves_nothing(small):
    address = urlsplit(small.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /assets HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nPK\3\4" + bytes(5000)
        )
        until(lambda: left_in(small), "the upload has begun")

    until(lambda: not left_in(small), "nothing is left")


def test_an_upload_that_waits_for_leave_gets_it(small):
    """curl asks before it sends more than a megabyte."""
    data = bundle("asking")
    address = urlsplit(small.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.putrequest("POST", "/assets")
    connection.putheader("Content-Length", str(len(data)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100")
    connection.send(data)

    assert connection.getresponse().status == 201
    connection.close()
