"""Operations in bundles: how they are imported, and found."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.bundles import bundle, id_of, operations

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "import sys, json\nfrom pathlib import Path\nfrom tsd.assets.folders import AssetFolders\nfrom tsd.operations.registry import Registry\nfrom tsd.errors import AssetError\nroot, *ids = sys.argv[1:]\nbundles = [AssetFolders(Path(root)).read(i) for i in ids]\n"


def unpacked(root, data):
    folder = root / id_of(data)
    path = root / "x.zip"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as opened:
        opened.extractall(folder)
    return folder.name


def run(root, script, *bundles):
    """Run a script in a Python of its own that has `bundles`, a list; what it printed."""
    ids = [unpacked(root, data) for data in bundles]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIBRARY + script, str(root), *ids],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_operations_are_found_in_a_bundle(tmp_path):
    found = run(
        tmp_path,
        "registry = Registry((), bundles)\n"
        "for name in ('shout', 'shout@' + ids[0], 'noop'): print(registry.processor(name).component.__module__)\n",
        operations(),
    )

    assert found == ["ops", "ops", "tsd.operations.standard.noop"]


def test_a_name_in_two_bundles_needs_its_bundle(tmp_path):
    """J16; points 24 and 25 of bundles. Both have a package `ops`, and neither sees that of the other."""
    found = run(
        tmp_path,
        "registry = Registry((), bundles)\n"
        "try: registry.processor('shout')\n"
        "except AssetError as error: print(error)\n"
        "for i in ids:\n"
        "    made = registry.processor('shout@' + i)\n"
        "    from tsd.operations.config import load\n"
        "    config, _ = load(made.config, {'_op': 'shout'})\n"
        "    from tsd.operations.context import OpContext\n"
        "    print(made.component(OpContext(), config, {}).map({}, 0, [])['shout'])\n",
        operations("one"),
        operations("two"),
    )

    assert found[0] == (
        'Multiple assets containing the same processor name _op: "shout", please specify which specific asset'
        " to use on its name; it is in asset one:1.0.0, asset two:1.0.0"
    )
    assert found[1:] == ["one:1.0.0!", "two:1.0.0!"]


def test_a_bundle_may_have_a_name_that_an_operation_of_tsd_has(tmp_path):
    data = operations(op="noop")
    found = run(
        tmp_path,
        "registry = Registry((), bundles)\n"
        "try: registry.processor('noop')\n"
        "except AssetError as error: print(error)\n"
        "print(registry.processor('noop@' + ids[0]).component.__module__)\n",
        data,
    )

    assert found[0].endswith("it is in asset ex:1.0.0, tsd.operations.standard.noop")
    assert found[1] == "ops"


def test_a_bundle_with_the_name_of_something_installed_has_its_own(tmp_path):
    """It is imported apart, and so is what it imports of itself, also later and from folders below."""
    files = {
        "attrs/__init__.py": "",
        "attrs/ops/__init__.py": (
            "from attrs.names import NAME\n"
            "import attrs.names, helper, os.path\n"
            "from . import deep\n"
            "from tsd.operations import MapProcessor, operation\n"
            "@operation('named')\n"
            "class Named(MapProcessor):\n"
            "    def late(self):\n"
            "        import helper as again\n"
            "        from attrs import names\n"
            "        return [NAME, attrs.names.NAME, helper.HELP, again.HELP, names.NAME, deep.NAME]\n"
        ),
        "attrs/ops/deep.py": "from attrs.names import *\n",
        "attrs/names.py": "NAME = 'mine'\n",
        "helper.py": "HELP = 'help'\n",
    }
    found = run(
        tmp_path,
        "registry = Registry((), bundles)\n"
        "print(registry.processor('named').component.late(None))\n"
        "import attrs\n"
        "print(attrs.__file__.startswith(root))\n",
        bundle(files=files, module="attrs.ops"),
    )

    assert found == ["['mine', 'mine', 'help', 'help', 'mine', 'mine']", "False"]


def test_a_registry_may_be_made_again(tmp_path):
    found = run(
        tmp_path,
        "for _ in range(2):\n"
        "    registry = Registry((), bundles)\n"
        "    print([registry.processor('shout@' + i).component.__module__[:10] for i in ids])\n",
        operations("one"),
        operations("two"),
    )

    assert found == ["['ops', 'tsd_asset_']"] * 2


@pytest.mark.parametrize(
    "files",
    [
        {"ops/__init__.py": "import absent_module"},
        {"ops/__init__.py": "1 +"},
        {"ops/__init__.py": "raise KeyError(1)"},
    ],
    ids=["import", "syntax", "raise"],
)
def test_a_bundle_that_does_not_load_is_named(tmp_path, files):
    found = run(
        tmp_path,
        "try: Registry((), bundles)\nexcept AssetError as error: print(error)\n",
        bundle(files=files),
    )

    assert found[0].startswith("Unable to load operation module ops of asset ex:1.0.0: ")


def test_a_bundle_without_modules_has_no_operations(tmp_path):
    found = run(
        tmp_path,
        "print(len(Registry((), bundles).definitions()) == len(Registry().definitions()))\n",
        bundle(files={"static/a.txt": "x"}),
    )

    assert found == ["True"]


def test_a_bundle_says_where_it_is(tmp_path):
    """Point 36 of bundles."""
    found = run(
        tmp_path,
        "from tsd.operations.context import OpContext\n"
        "ctx = OpContext(bundles=bundles)\n"
        "for name in ('one', 'one:1.0.0', 'one:^1', ids[1], 'two'): print(ctx.asset_path(name).name)\n"
        "try: ctx.asset_path('three')\n"
        "except AssetError as error: print(error)\n",
        operations("one"),
        operations("two"),
    )

    one, two = id_of(operations("one")), id_of(operations("two"))
    assert found == [one, one, one, two, two, 'No assets found for "three" among those of the job']


USES_TINY = (
    "from tsd.operations import MapProcessor, operation\n"
    "import tiny\n"
    "@operation('{op}')\n"
    "class Says(MapProcessor):\n"
    "    def map(self, record, index, batch):\n"
    "        from importlib.metadata import version\n"
    "        return record | {{'tiny': tiny.VERSION, 'said': version('tiny')}}\n"
)


def with_site(name, version, op):
    """A bundle as it is when it was unpacked with a wheel of `tiny` in it."""
    files = {
        "operations/__init__.py": USES_TINY.format(op=op),
        "site/tiny.py": f"VERSION = {version!r}\n",
        f"site/tiny-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
    }
    return bundle(name, files=files)


def test_what_wheels_have_brought_is_importable_in_each_bundle(tmp_path):
    """Point 37 of bundles. The second bundle is imported apart, the library is not."""
    found = run(
        tmp_path,
        "registry = Registry((), bundles)\n"
        "for name in ('a', 'b'): print(registry.processor(name).component.map(None, {}, 0, []))\n"
        "import tiny\nprint(tiny.__file__.removeprefix(root + '/' + ids[0]))\n",
        with_site("one", "1.0", "a"),
        with_site("two", "1.0", "b"),
    )

    assert found == ["{'tiny': '1.0', 'said': '1.0'}"] * 2 + ["/site/tiny.py"]


def test_two_bundles_with_different_versions_of_a_library_do_not_go_together(tmp_path):
    found = run(
        tmp_path,
        "try: Registry((), bundles)\nexcept AssetError as error: print(error)\n",
        with_site("one", "1.0", "a"),
        with_site("two", "2.0", "b"),
    )

    assert found == [
        (
            "asset one:1.0.0 brings tiny 1.0 and asset two:1.0.0 brings tiny 2.0: one process can import one of them"
            " only, so one job can not use both"
        )
    ]


@pytest.mark.parametrize(
    ("files", "place"),
    [
        (
            {"ops/__init__.py": "x = 1\nfrom . import deep", "ops/deep.py": "\n\n1 / 0"},
            "ops/deep.py, line 3: 1 / 0",
        ),
        ({"ops/__init__.py": "import json\njson.loads('')"}, "ops/__init__.py, line 2: json.loads('')"),
        (
            {"ops/__init__.py": "from ops import deep", "ops/deep.py": "x = 1\ny = ="},
            "ops/deep.py, line 2: y = =",
        ),
        ({"ops/__init__.py": "\nimport absent"}, "ops/__init__.py, line 2: import absent"),
    ],
    ids=["deep", "in a library", "syntax", "import"],
)
def test_the_deepest_line_of_the_bundle_is_told(tmp_path, files, place):
    script = "try: Registry((), bundles)\nexcept AssetError as error: print(error)\n"
    (plain,) = run(tmp_path, script, bundle(files=files))
    *_, apart = run(tmp_path, script, bundle("a", files={"ops/__init__.py": ""}), bundle("b", files=files))

    assert plain.endswith(f", in {place}")
    assert apart.endswith(f", in {place}")


def test_a_library_that_is_missing_is_told_with_how_a_bundle_brings_it(tmp_path):
    code = {"ops/__init__.py": "import pandas_of_nobody.frames\n"}
    script = "\ntry: Registry((), bundles)\nexcept AssetError as error: print(error)"

    (found,) = run(tmp_path, script, bundle(files=code))

    assert "No module named 'pandas_of_nobody'" in found
    assert " (a bundle brings pandas_of_nobody when it is built with `tsd assets build --wheels " in found


def test_a_module_of_its_own_that_is_missing_needs_no_wheel(tmp_path):
    code = {"ops/__init__.py": "import ops.absent\n"}
    script = "\ntry: Registry((), bundles)\nexcept AssetError as error: print(error)"

    (found,) = run(tmp_path, script, bundle(files=code))

    assert "No module named 'ops.absent'" in found
    assert "wheels" not in found
