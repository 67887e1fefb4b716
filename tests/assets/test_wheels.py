"""Wheels in bundles: what is unpacked of them, and which are refused: point 37 of bundles."""

import importlib.machinery
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.version import Version

from tests.support.bundles import bundle, id_of, zip_of
from tests.support.wheels import hash_of, wheel
from tsd.assets.archive import Limits, check
from tsd.assets.environment import Environment, this_environment
from tsd.assets.folders import AssetFolders
from tsd.assets.wheels import Wheel, choose
from tsd.errors import AssetInvalid

LIMITS = Limits(unpacked_b=50_000_000)
COMPILED = this_environment().tags[0]


def filled(tmp_path, files, **manifest):
    """The folder of a bundle with these files; it is checked before, and nothing else is left."""
    data = bundle(files=files, **manifest)
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    folders = AssetFolders(tmp_path / "assets")
    try:
        check(path, LIMITS)
        return folders.fill(id_of(data), path, LIMITS)
    finally:
        left = {one.name for one in folders.root.iterdir()} if folders.root.exists() else set()
        assert left <= {".locks", id_of(data)}
        assert {one.name for one in tmp_path.iterdir()} <= {"x.zip", "assets"}


def names_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_a_wheel_brings_is_unpacked_beside_the_operations(tmp_path):
    files = {
        "ops/__init__.py": "",
        **wheel(
            "my-lib",
            "2.1",
            {"my_lib/__init__.py": "x = 1", "my_lib/deep/data.bin": bytes(100_000)},
            data={"purelib/pure.py": "p", "platlib/plat.py": "q", "scripts/run": "#!", "data/etc/x": "y"},
        ),
    }
    folder = filled(tmp_path, files)

    assert names_in(folder) == {
        "asset.json",
        "ops/__init__.py",
        "site/my_lib/__init__.py",
        "site/my_lib/deep/data.bin",
        "site/pure.py",
        "site/plat.py",
        *(f"site/my_lib-2.1.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    assert (folder / "site/my_lib/__init__.py").read_text() == "x = 1"


def test_of_several_wheels_of_a_distribution_the_one_is_taken_that_fits_best(tmp_path):
    files = {}
    for tag in ("py3-none-any", str(COMPILED), "cp27-cp27m-win32"):
        files |= wheel("lib", "1.0", {"lib.py": f"TAG = {tag!r}"}, tag=tag)
    folder = filled(tmp_path, files)

    assert (folder / "site/lib.py").read_text() == f"TAG = {str(COMPILED)!r}"


def bad_zip():
    data = bytearray(next(iter(wheel().values())))
    data[45] ^= 0xFF
    return {"wheels/tiny-1.0-py3-none-any.whl": bytes(data)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"wheels/tiny-1.0.tar.gz": b"x"}, "tiny-1.0.tar.gz is no wheel, and nothing is built here"),
        ({"wheels/tiny-1.0-py3-none-any.whl": b"x"}, "tiny-1.0-py3-none-any.whl is no zip"),
        ({"wheels/tiny.whl": next(iter(wheel().values()))}, "wheels/tiny.whl is no good wheel"),
        (
            {"wheels/other-1.0-py3-none-any.whl": next(iter(wheel().values()))},
            "other-1.0-py3-none-any.whl is no good wheel: its folder tiny-1.0.dist-info is of another",
        ),
        (bad_zip(), "tiny-1.0-py3-none-any.whl: tiny.py can not be unpacked"),
        (wheel(record={"tiny.py": hash_of("other")}), "tiny.py is damaged, RECORD has another hash"),
        (
            wheel(record={"tiny.py": hash_of("VERSION = '1.0'\n", "md5")}),
            "RECORD has no safe hash of tiny.py",
        ),
        (wheel(record={"tiny.py": None}), "RECORD and the content differ in tiny.py"),
        (wheel(record={"gone.py": hash_of("")}), "RECORD and the content differ in gone.py"),
        (wheel(wheel_version="2.0"), "no Wheel-Version that is read here"),
        (wheel(files={"../evil.py": ""}), "'../evil.py' leads out of the bundle"),
        (wheel(files={"a.py": "", "A.py": ""}), "A.py twice"),
        (wheel(data={"purelib/../../evil.py": ""}), "leads out of the bundle"),
        (wheel() | {"site/a.py": ""}, "site is where the wheels are unpacked"),
        (wheel() | {"SITE/a.py": ""}, "SITE/a.py: site is where the wheels are unpacked"),
        (wheel(requires=["not a requirement!"]), "is no good wheel"),
        (
            wheel("one", files={"same.py": ""}) | wheel("two", files={"same.py": ""}),
            "wheels/one-1.0-py3-none-any.whl and wheels/two-1.0-py3-none-any.whl both bring same.py",
        ),
        (wheel() | wheel(version="2.0"), "are two versions of tiny: keep one"),
        (
            wheel(tag="cp27-cp27m-win32"),
            f"wheels/tiny-1.0-cp27-cp27m-win32.whl does not fit here: a wheel for {COMPILED} or py3-none-any would",
        ),
        (wheel(python=">=4"), "needs Python >=4, this is 3."),
        (wheel("attrs", "1.0"), "brings attrs 1.0, but"),
        (
            wheel(requires=["nowhere>=2"]),
            "wheels/tiny-1.0-py3-none-any.whl needs nowhere>=2, which neither the bundle brings nor tsd has",
        ),
        (wheel(requires=["other>=2"]) | wheel("other", "1.5"), "tiny-1.0-py3-none-any.whl needs other>=2"),
        (wheel(files={"bomb": bytes(60_000_000)}), "unpacks to more than"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_wheel_that_is_no_good_here_is_refused_by_its_name_and_leaves_nothing(tmp_path, files, words):
    with pytest.raises(AssetInvalid) as info:
        filled(tmp_path, files)

    assert words in str(info.value)


def test_what_asset_json_needs_must_be_there(tmp_path):
    with pytest.raises(AssetInvalid, match=r"asset\.json needs tiny>=2, which .*, there is 1\.0"):
        filled(tmp_path, wheel(), requirements=["tiny>=2"])
    with pytest.raises(AssetInvalid, match="requirements must be a list of texts"):
        filled(tmp_path, wheel(), requirements="tiny")


def test_limits_hold_for_all_zips_of_a_bundle_together(tmp_path):
    """Each of the wheels alone would be small enough."""
    files = {}
    for number in range(4):
        files |= wheel(f"lib{number}", "1.0", {f"lib{number}.bin": bytes(6_000_000)})

    with pytest.raises(AssetInvalid, match="unpacks to more than 16777216 bytes"):
        filled(tmp_path, files)


def test_zips_in_wheels_are_files_like_others(tmp_path):
    inner = zip_of({"bomb": bytes(40_000_000)})
    folder = filled(tmp_path, wheel(files={"inner.whl": inner}))

    assert (folder / "site/inner.whl").read_bytes() == inner


def test_compiled_modules_in_a_wheel_tie_the_bundle_to_a_python(tmp_path):
    path = tmp_path / "x.zip"
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    for files, is_compiled in (
        (wheel(), False),
        (wheel(files={f"tiny{suffix}": "x"}), True),
        (wheel(tag=str(COMPILED)), True),
    ):
        path.write_bytes(bundle(files=files))
        assert [one.is_compiled for one in check(path, LIMITS).wheels] == [is_compiled]


# --- what is chosen for an environment ----------------------------------------------------------


def made(name, version="1.0", *, tags=("py3-none-any",), requires=()):
    parsed = frozenset(Tag(*tag.split("-")) for tag in tags)
    return Wheel(
        file=f"wheels/{name}-{version}.whl",
        name=name,
        version=Version(version),
        tags=parsed,
        requires=tuple(Requirement(text) for text in requires),
    )


HERE = Environment((Tag("cp311", "cp311", "linux_x86_64"), Tag("py3", "none", "any")))


@pytest.mark.parametrize(
    "requires",
    [
        ["nowhere; python_version < '3'"],
        ["nowhere; extra == 'docs'"],
        ["attrs"],
        ["attrs>=20", "trio"],
        ["Other_Lib>=1"],
        ["other-lib[fast]"],
    ],
)
def test_what_holds_here_is_enough(requires):
    wheels = [made("lib", requires=requires), made("other-lib"), made("fast", requires=[])]

    assert choose(wheels, (), HERE) == wheels


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        (["other[fast]"], r"wheels/other-1\.0\.whl\[fast\] needs quick"),
        (["attrs<1"], r"asset\.json needs attrs<1, which .*, there is \d"),
        (["nowhere @ https://example.com/x.whl"], "asset.json needs nowhere@ https|needs nowhere @ https"),
    ],
)
def test_what_is_missing_is_named(requirements, words):
    wheels = [made("other", requires=["quick; extra == 'fast'", "slow; extra == 'other'"])]

    with pytest.raises(AssetInvalid, match=words):
        choose(wheels, [Requirement(text) for text in requirements], HERE)


def test_distributions_that_need_each_other_end():
    wheels = [made("one", requires=["two[x]"]), made("two", requires=["one[x]", "one; extra == 'x'"])]

    assert choose(wheels, (), HERE) == wheels


def test_a_wheel_is_no_file_of_the_bundle_that_can_be_read_by_its_old_path(tmp_path):
    folder = filled(tmp_path, wheel() | {"wheels/NOTES.txt": "kept"})

    assert names_in(folder / "wheels") == {"NOTES.txt"}
    assert Path(folder / "site/tiny.py").exists()
