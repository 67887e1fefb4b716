import pytest

from tsd.assets.versions import VersionRange, clean_version, precedence

VERSIONS = ["0.9.0", "1.2.0", "1.2.3-rc.1", "1.2.3", "1.9.0", "1.10.0", "2.0.0", "3.1.4", "10.0.0"]


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("1.9.0", ["1.9.0"]),
        ("v1.9.0", ["1.9.0"]),
        ("=1.9.0", ["1.9.0"]),
        ("^1.9.0", ["1.9.0", "1.10.0"]),
        ("^v1.9.0", ["1.9.0", "1.10.0"]),
        ("~1.2.0", ["1.2.0", "1.2.3"]),
        ("1", ["1.2.0", "1.2.3", "1.9.0", "1.10.0"]),
        ("1.2", ["1.2.0", "1.2.3"]),
        ("1.*", ["1.2.0", "1.2.3", "1.9.0", "1.10.0"]),
        ("1.x", ["1.2.0", "1.2.3", "1.9.0", "1.10.0"]),
        (">=2.0.0", ["2.0.0", "3.1.4", "10.0.0"]),
        (">= 2.0.0 < 10", ["2.0.0", "3.1.4"]),
        ("1.9.0 - 2.0.0", ["1.9.0", "1.10.0", "2.0.0"]),
        ("0.x || 3.x", ["0.9.0", "3.1.4"]),
    ],
)
def test_ranges_are_those_of_npm(text, allowed):
    """Points 17 and 18 of bundles: numbers are compared as numbers."""
    chosen = VersionRange.parse(text)

    assert [version for version in VERSIONS if chosen.allows(version)] == allowed


@pytest.mark.parametrize("text", ["", "*", "latest", " latest "])
def test_any_version_is_any_but_a_pre_release(text):
    chosen = VersionRange.parse(text)

    assert [version for version in VERSIONS if not chosen.allows(version)] == ["1.2.3-rc.1"]


@pytest.mark.parametrize("text", ["1.2.3-rc.1", ">=1.2.3-rc.0", "^1.2.3-rc.1"])
def test_a_pre_release_is_taken_where_one_of_its_version_is_named(text):
    assert VersionRange.parse(text).allows("1.2.3-rc.1")


def test_an_exact_pre_release_is_no_release():
    assert not VersionRange.parse("1.2.3-rc.1").allows("1.2.3")


@pytest.mark.parametrize("text", ["newest", "1.2*", "1.2.3.4", ">>1", "1" * 300, "é"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError):
        VersionRange.parse(text)


def test_versions_are_stored_without_decoration():
    """Point 7 of bundles."""
    assert [clean_version(text) for text in ("v1.2.3", "=1.2.3", " 1.2.3-rc.1 ", "=v1.0.0")] == [
        "1.2.3",
        "1.2.3",
        "1.2.3-rc.1",
        "1.0.0",
    ]


@pytest.mark.parametrize("text", ["1.0", "", "1", "1.2.x", "one", "1.2.3 4", "v" * 500])
def test_a_version_has_three_numbers(text):
    with pytest.raises(ValueError):
        clean_version(text)


def test_versions_have_the_order_of_their_numbers():
    assert sorted(VERSIONS, key=precedence) == VERSIONS
