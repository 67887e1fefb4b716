"""What the API says to those who are nearly right."""

import pytest

JSON = {"content-type": "application/json"}


def message(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["message"]


def test_a_job_without_operations_is_told_what_is_missing(api):
    text = message(api.post("/jobs", json={"name": "x"}), 400)

    assert text == "No job was posted: it has no `operations`, a list of a reader and processors"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("name: x\noperations:\n  - _op: noop\n", ": line 1, column 1: expecting value: name: x"),
        ('{\n  "name": "x",\n  "operations": [],\n}', ": line 4, column 1: "),
        ("{\n  \"name\": 'x'\n}", ": line 2, column 11: expecting value: \"name\": 'x'"),
    ],
)
def test_a_file_that_is_no_json_is_told_its_line_and_column(api, body, words):
    text = message(api.post("/jobs", content=body, headers=JSON), 400)

    assert text.startswith("the json submitted is malformed: line ")
    assert words in text


@pytest.mark.parametrize("root", ["jobs", "ex"])
@pytest.mark.parametrize(
    ("written", "meant"), [("stop", "_stop"), ("_pasue", "_pause"), ("resume", "_resume"), ("Stop", "_stop")]
)
def test_a_verb_without_its_underscore_is_suggested(api, root, written, meant):
    text = message(api.post(f"/{root}/abc/{written}"), 404)

    assert text == f"cannot POST endpoint /{root}/abc/{written}; did you mean /{root}/abc/{meant}?"


@pytest.mark.parametrize("path", ["jobs/abc/fly", "jobs/abc/ex/y", "nope", "nope/stop"])
def test_what_resembles_nothing_gets_no_hint(api, path):
    assert message(api.post(f"/{path}"), 404) == f"cannot POST endpoint /{path}"
