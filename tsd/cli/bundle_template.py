"""The folder that `tsd assets init` makes."""

import json
import re
import sys
from pathlib import Path

from tsd.assets.manifest import FILE_NAME, read_manifest
from tsd.errors import AssetInvalid

_OPERATIONS = '''\
"""Operations of {name}."""

import attrs

from tsd.operations import MapProcessor, OpConfig, operation, opt


@attrs.define(kw_only=True)
class GreetConfig(OpConfig):
    """Options of `greet`; a job gives them beside `_op`."""

    greeting: str = opt("Hello", doc="what is said before the name")
    field: str = opt("name", doc="field with the name; records without it are left as they are")


@operation("greet", config=GreetConfig)
class Greet(MapProcessor):
    """Adds a field `greeting` to each record."""

    def map(self, record, index, batch):
        name = record.get(self.config.field)
        if name is not None:
            record["greeting"] = f"{{self.config.greeting}}, {{name}}!"
        return record
'''
_TEST = '''\
"""Run with `pytest` in the folder of the bundle, in a Python in which tsd is installed."""

from tsd.operations.testing import WorkerHarness


def test_a_name_is_greeted():
    with WorkerHarness.for_processor({"_op": "greet", "greeting": "Hi"}) as harness:
        assert harness.run_slice([{"name": "Ada"}]) == [{"name": "Ada", "greeting": "Hi, Ada!"}]


def test_a_record_without_a_name_stays_as_it_is():
    with WorkerHarness.for_processor({"_op": "greet"}) as harness:
        assert harness.run_slice([{"id": 1}]) == [{"id": 1}]
'''
_README = """\
# {name}

A bundle of operations for tsd.

| operation | what it does |
| --- | --- |
| `greet` | adds `greeting` to records that have a name |

```sh
pytest                           # test it
tsd assets build                 # check it and make build/{name}-1.0.0.zip
tsd run --assets . examples/job.json   # run the example on a cluster of its own
tsd assets deploy                # send it to the cluster at $TSD_URL
```

Raise `version` in `asset.json` before each deploy of something new. Libraries that tsd does not have go into
`wheels`: `tsd assets build --wheels requirements.txt` collects them.
"""
_IGNORED = "__pycache__/\n.pytest_cache/\n.venv/\nbuild/\n"


def template(name: str) -> dict[str, str]:
    """The files of a new bundle, by path.

    Raises:
        AssetInvalid: No bundle can have this name.
    """
    manifest = {
        "name": name,
        "version": "1.0.0",
        "description": f"operations of {name}",
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "operations": {"greet": "operations:Greet"},
    }
    read_manifest(json.dumps(manifest).encode())
    job = {
        "name": f"{name} example",
        "lifecycle": "once",
        "workers": 1,
        "assets": [name],
        "operations": [
            {"_op": "data_generator", "size": 100},
            {"_op": "greet", "field": "ip"},
            {"_op": "file_exporter", "path": f"/tmp/{name}-example", "format": "ldjson"},  # noqa: S108
        ],
    }
    test = re.sub(r"\W", "_", name).lower()
    return {
        FILE_NAME: json.dumps(manifest, indent=2) + "\n",
        "operations/__init__.py": _OPERATIONS.format(name=name),
        f"tests/test_{test}.py": _TEST,
        "examples/job.json": json.dumps(job, indent=2) + "\n",
        "README.md": _README.format(name=name),
        ".gitignore": _IGNORED,
    }


def init(name: str, folder: Path) -> list[str]:
    """Make the folder of a new bundle; the paths of its files.

    Raises:
        AssetInvalid: No bundle can have this name, or the folder is not empty.
        OSError: It can not be written.
    """
    files = template(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AssetInvalid(f"{folder} is there already and not empty: take another name or --dir")
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(files)
