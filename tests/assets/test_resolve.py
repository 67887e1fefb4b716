"""Which bundle a job means."""

import platform
import sys

import pytest

from tsd.assets.host import Host, mismatches, this_host
from tsd.assets.resolve import choose, name_of
from tsd.core.assets import AssetRecord
from tsd.errors import AssetError

HOST = Host(platform="linux", arch="x64", python=(3, 11, 7))


def asset(version="1.0.0", **fields):
    return AssetRecord(asset_id=f"id of {version}", name="ex", version=version, **fields)


def chosen(identifier, *candidates, host=HOST):
    return choose(identifier, candidates, host).version


def refusal(identifier, *candidates):
    with pytest.raises(AssetError) as info:
        choose(identifier, candidates, HOST)
    return str(info.value)


def test_the_highest_version_wins_whichever_came_last():
    """Points 16 to 18 of bundles."""
    versions = [asset(text) for text in ("1.9.0", "1.10.0", "10.0.0", "2.0.0-rc.1", "0.1.0")]

    assert chosen("ex", *versions) == "10.0.0"
    assert chosen("ex:latest", *versions) == "10.0.0"
    assert chosen("ex:1.9.0", *versions) == "1.9.0"
    assert chosen("ex:^1.9.0", *versions) == "1.10.0"
    assert chosen("ex:>=2.0.0", *versions) == "10.0.0"
    assert chosen("ex:2.0.0-rc.1", *versions) == "2.0.0-rc.1"
    assert chosen("ex:1.9.0:rest", *versions) == "1.9.0"


def test_nothing_of_that_name_is_told():
    assert refusal("zz") == 'No assets found for "zz"'


def test_the_nearest_versions_are_named():
    assert refusal("ex:3", asset("1.0.0"), asset("2.0.0")) == (
        'No assets found for "ex:3", there is 2.0.0, 1.0.0'
    )
    assert refusal("ex:9", *(asset(f"1.{i}.0") for i in range(9))).endswith("1.4.0 and more")


def test_a_range_that_is_none_is_told():
    assert refusal("ex:newest", asset()) == (
        'No assets found for "ex:newest": "newest" is no version or range'
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"platform": "darwin"}, "needs platform darwin, this is linux"),
        ({"arch": "arm64"}, "needs arch arm64, this is x64"),
        ({"python_version": "3.12"}, "needs Python 3.12, this is 3.11.7"),
        ({"python_version": "3.11.8"}, "needs Python 3.11.8, this is 3.11.7"),
        ({"python_version": "2.7"}, "needs Python 2.7, this is 3.11.7"),
        ({"python_version": "3.10", "is_compiled": True}, "needs exactly Python 3.10, this is 3.11.7"),
    ],
)
def test_what_can_not_run_here_is_left_out_and_told(fields, words):
    """Point 20 of bundles."""
    field = next(iter(fields))

    assert chosen("ex", asset("1.0.0"), asset("2.0.0", **fields)) == "1.0.0"
    assert refusal("ex", asset("2.0.0", **fields)) == (
        f'No asset found for "ex", due to a {field} mismatch: ex:2.0.0 {words}'
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"platform": "linux", "arch": "x64"},
        {"python_version": "3"},
        {"python_version": "3.10"},
        {"python_version": "3.11"},
        {"python_version": "3.11.2", "is_compiled": True},
        {"is_compiled": True},
        {"node_version": 99},
    ],
)
def test_what_fits_can_run(fields):
    assert mismatches(asset(**fields), HOST) == []


def test_this_host_says_what_node_would():
    host = this_host()

    assert host.platform == sys.platform
    assert host.arch == {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    assert host.python == sys.version_info[:3]


def test_the_name_ends_at_the_first_colon():
    assert [name_of(text) for text in ("ex", "ex:1", "ex:1:2")] == ["ex", "ex", "ex"]
