"""The example jobs with files, each run from the project's root as its reader and exporter would run."""

import json
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from tests.support.pipelines import REGISTRY
from tsd.operations.context import OpContext
from tsd.operations.job import validate_job
from tsd.operations.pipeline import Pipeline
from tsd.operations.slice import Slice
from tsd.operations.slicing import SlicerRunner

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples/operations").glob("file_*.json"))
AIRPORTS = [
    json.loads(line) for line in (ROOT / "examples/operations/data/airports.ldjson").read_text().splitlines()
]


def output_of(name, folder):
    """Content of the files that the example writes, by path, below a folder in place of its own."""
    text = (ROOT / f"examples/operations/{name}.json").read_text()
    assert f'"/tmp/tsd-examples/{name}"' in text
    raw = json.loads(text.replace(f"/tmp/tsd-examples/{name}", str(folder)))
    job = validate_job(raw, registry=REGISTRY).job | {"ex_id": "ex"}
    pipeline = Pipeline(job, REGISTRY, OpContext(sleep=lambda _s: None))
    pipeline.initialize()
    runner = SlicerRunner(job, REGISTRY, OpContext())
    runner.initialize(())
    made = runner.make(1000, 60)
    assert made.is_finished
    for _, requests in made.slices:
        for order, request in enumerate(requests, start=1):
            outcome = pipeline.run(Slice.of(json.loads(request), ex_id="ex", slicer_order=order))
            assert outcome.state == "completed", outcome.error
    pipeline.shutdown()
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".tsd" not in path.parts
    }


def records(content):
    return [json.loads(line) for line in content.splitlines()]


CHOSEN = [{"code": each["code"], "feet": each["feet"]} for each in AIRPORTS]
CHECKS = {
    "file_reader": lambda files: (
        sorted(records(b"".join(files.values())), key=AIRPORTS.index) == AIRPORTS and len(files) > 1
    ),
    "file_reader_api": lambda files: [records(content) for content in files.values()] == [AIRPORTS],
    "file_reader_csv": lambda files: (
        {
            (each["code"], each["name"], int(each["feet"]), "note" in each)
            for content in files.values()
            for each in records(content)
        }
        == {(each["code"], each["name"], each["feet"], each["feet"] < 25) for each in AIRPORTS}
    ),
    "file_reader_csv_arguments": lambda files: (
        [records(content) for content in files.values()]
        == [
            [
                {"code": "EWR", "note": "first line\nsecond line; with a delimiter"},
                {"code": "JFK", "note": "it's large"},
            ]
        ]
    ),
    "file_reader_gzip": lambda files: [records(content) for content in files.values()] == [CHOSEN],
    "file_exporter": lambda files: (
        {path.split("/")[0] for path in files} >= {"zone=New York", "zone=Europe%2FParis"}
        and len(files) == len({each["zone"] for each in AIRPORTS})
    ),
    "file_exporter_csv": lambda files: (
        next(iter(files.values())).decode().splitlines()
        == ["code,feet", *(f"{each['code']},{each['feet']}" for each in AIRPORTS)]
    ),
    "file_exporter_lz4": lambda files: (
        [(path[-11:], records(lz4.frame.decompress(content))) for path, content in files.items()]
        == [(".ldjson.lz4", AIRPORTS)]
    ),
    "file_exporter_zstd": lambda files: (
        [
            (path[-11:], records(zstandard.ZstdDecompressor().decompress(content)))
            for path, content in files.items()
        ]
        == [(".ldjson.zst", AIRPORTS)]
    ),
}


def test_there_is_a_check_for_every_example():
    assert set(EXAMPLES) - {"file_sender_api"} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_an_example_gives_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    files = output_of(name, tmp_path)
    assert CHECKS[name](files), files


def test_the_example_of_the_sender_writes_one_json_array(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    assert [json.loads(content) for content in output_of("file_sender_api", tmp_path).values()] == [AIRPORTS]
