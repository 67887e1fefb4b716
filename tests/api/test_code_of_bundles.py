"""The code of a bundle is imported when it is uploaded, in a child: what is stored of it, and what is refused."""

import json

import pytest

from tests.support.bundles import bundle, id_of, operations
from tests.support.daemons import until
from tests.support.wheels import wheel


def upload(api, data):
    return api.post("/assets", content=data)


def left_in(master, folder):
    return [path.name for path in (master.data_dir / folder).glob("*") if not path.name.endswith(".zip")]


def test_a_bundle_is_listed_with_its_operations(api):
    """Point 12 of bundles."""
    upload(api, operations("offers", package="operations"))
    upload(api, bundle("nothing", files={"static/a.txt": ""}))
    upload(api, bundle("script", files={"index.js": ""}))
    upload(api, bundle("empty", files={"operations/__init__.py": ""}))

    shown = {asset["name"]: asset.get("operations") for asset in api.get("/assets?size=1000").json()}
    assert [shown[name] for name in ("offers", "nothing", "script", "empty")] == [["shout"], None, None, []]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"ops/__init__.py": "from .a import b", "ops/a.py": "x = 1\nimport nowhere"},
            "ops/a.py, line 2: import nowhere",
        ),
        ({"ops/__init__.py": "def f(:"}, "ops/__init__.py, line 1: def f(:"),
        ({"ops/__init__.py": "import os\nos._exit(7)"}, "ended its process with exit code 7"),
        (
            {"ops/__init__.py": "import os\n\nos.abort()"},
            "ended by signal 6 (SIGABRT) when the bundle was checked, in ops/__init__.py, line 3: os.abort()",
        ),
        ({"ops/__init__.py": ""} | wheel(requires=["nowhere"]), "needs nowhere, which neither"),
        ({"ops/__init__.py": "import tiny\nassert tiny.VERSION == '2'"} | wheel(), "ops/__init__.py, line 2"),
    ],
    ids=["import", "syntax", "exit", "crash", "wheel", "with a wheel"],
)
def test_code_that_can_not_be_imported_is_refused_with_its_place_and_leaves_nothing(
    master, api, files, words
):
    answer = upload(api, bundle("refused", files=files))

    assert answer.status_code == 422
    assert words in answer.json()["message"]
    assert api.get("/assets/refused").json() == []
    until(lambda: left_in(master, "bundles") == [], "nothing is left")
    assert id_of(bundle("refused", files=files)) not in left_in(master, "assets")


def test_a_bundle_for_other_hosts_is_stored_unchecked_and_the_log_says_so(master, api):
    data = bundle(
        "elsewhere", platform="plan9", files={"ops/__init__.py": "import nowhere"} | wheel(requires=["no"])
    )

    assert upload(api, data).status_code == 201
    (asset,) = api.get("/assets/elsewhere").json()
    assert "operations" not in asset
    lines = [
        json.loads(line) for line in master.daemons["master"].log.splitlines() if "asset.unchecked" in line
    ]
    assert [line["reason"] for line in lines if line["asset_id"] == id_of(data)] == [
        "needs platform plan9, this is linux"
    ]


@pytest.mark.parametrize(
    "listed", [{"other": "ops:Shout"}, {"shout": "ops:Other"}, {}, {"shout": 5}, ["shout"]], ids=repr
)
def test_a_list_of_operations_that_is_not_what_there_is_is_refused(api, listed):
    answer = upload(api, operations("listed", operations=listed))

    assert answer.status_code == 422
    assert "asset.json" in answer.json()["message"]


def test_a_list_of_operations_that_is_right_is_taken(api):
    assert upload(api, operations("listed_well", operations={"shout": "ops:Shout"})).status_code == 201
