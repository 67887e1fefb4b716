"""script: operations.md, the operation that Teraslice's documentation describes; connectors.md rank 25."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support.pipelines import checked, make_pipeline, run
from tests.support.waiting import is_alive, wait_for
from tsd.errors import JobInvalid
from tsd.operations import Record
from tsd.operations.context import Interrupted, OpContext

LINES = """
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print(json.dumps({"n": record["n"] * 2}))
"""
ARRAY = """
import json, sys
print(json.dumps([{"n": record["n"] * 2} for record in json.loads(sys.stdin.readline())]))
"""
ECHO = "import sys; sys.stdout.write(sys.stdin.read())"
# as Teraslice's own example does it: one line in, one out, no line break behind it
PUBLIC = "import sys, json; sys.stdout.write(json.dumps(json.loads(sys.stdin.readline())))"
MANY = [{"n": i, "text": "x" * 1000} for i in range(2000)]


def python(code, **options):
    return {"_op": "script", "command": sys.executable, "args": ["-c", textwrap.dedent(code)], **options}


def result(code, *records, **options):
    return run(make_pipeline(python(code, **options), max_retries=0), *records)


def failure(code, *records, **options):
    outcome = result(code, *records, **options)
    assert outcome.state == "error"
    return outcome.error


def test_a_program_takes_and_gives_one_array():
    assert result(ARRAY, {"n": 1}, {"n": 21}).records == [{"n": 2}, {"n": 42}]


def test_a_program_may_take_and_give_a_record_a_line():
    assert result(LINES, {"n": 1}, {"n": 21}, protocol="lines").records == [{"n": 2}, {"n": 42}]


@pytest.mark.parametrize("count", [1, 1000])
def test_a_script_of_teraslice_passes_all_records(count):
    records = [{"n": n, "nested": {"text": "\u00e9\n"}} for n in range(count)]

    assert result(PUBLIC, *records).records == records


@pytest.mark.parametrize("protocol", ["array", "lines"])
def test_more_than_pipes_hold_goes_through_both_ways(protocol):
    assert result(ECHO, *MANY, protocol=protocol).records == MANY


def test_a_program_may_take_its_time():
    """It begins to read after several looks whether the worker is stopping."""
    code = "import sys, time; time.sleep(0.7); sys.stdout.write(sys.stdin.read())"

    assert result(code, *MANY).records == MANY


def test_a_program_may_answer_while_it_reads():
    code = """
    import os
    while chunk := os.read(0, 1000):
        os.write(1, chunk)
    """

    assert result(code, *MANY).records == MANY


@pytest.mark.parametrize("path", ["/dev/stdin", "/proc/self/fd/0"])
def test_a_program_may_open_its_input_by_name(path):
    assert result(f"import sys; sys.stdout.write(open({path!r}).read())", *MANY).records == MANY


@pytest.mark.parametrize(
    ("code", "protocol"),
    [
        ("print('[{}]')", "array"),
        ("import os; os.close(0); print('[]')", "array"),
        ("import os, time; os.close(0); time.sleep(0.3); print('[]')", "array"),
        ("import os; os.read(0, 10); print('[]')", "array"),
        ("print('{}')", "lines"),
        ("pass", "lines"),
        (PUBLIC, "lines"),
    ],
)
@pytest.mark.parametrize("records", [MANY, MANY[:60]], ids=["more than a pipe holds", "less"])
def test_a_program_that_leaves_input_unread_is_a_fault(code, protocol, records):
    error = failure(code, *records, protocol=protocol)

    assert "of its input unread" in error
    assert '"protocol":' in error


@pytest.mark.parametrize("protocol", ["array", "lines"])
def test_a_program_may_drop_records_and_add_some(protocol):
    array = "import json, sys; rows = json.load(sys.stdin); print(json.dumps([*rows[:3], {'new': 1}]))"
    lines = "import sys; rows = sys.stdin.readlines(); print(*rows[:3], '{\"new\": 1}', sep='')"
    code = array if protocol == "array" else lines

    assert result(code, *MANY, protocol=protocol).records == [*MANY[:3], {"new": 1}]
    nothing = (
        "import sys; sys.stdin.read(); print('[]')" if protocol == "array" else "import sys; sys.stdin.read()"
    )
    assert result(nothing, *MANY, protocol=protocol).records == []


@pytest.mark.parametrize(
    "output",
    ["", "nonsense", "{}", '{"n": 2}\n{"n": 4}', "[1]", "[{}] [{}]", "[{}", "null", "[" * 5000],
)
def test_output_that_is_no_array_of_records_fails(output):
    error = failure(f"import sys; sys.stdin.read(); print({output!r})", {})

    assert "wrote" in error
    assert output.split("\n")[0][:100] in error


def test_an_element_that_is_no_object_is_named():
    assert "wrote as element 1 no JSON object: 7" in failure(
        "import sys; sys.stdin.read(); print('[{}, 7]')", {}
    )


def test_an_array_may_have_many_lines():
    code = "import json, sys; print(json.dumps(json.load(sys.stdin), indent=2))"

    assert result(code, {"a": [1]}, {"b": 2}).records == [{"a": [1]}, {"b": 2}]


def test_a_record_that_json_can_not_hold_is_rejected_alone():
    seen = []
    op = python(ECHO, _dead_letter_action="none")
    pipeline = make_pipeline(op, context=OpContext(on_reject=seen.append))

    kept = pipeline.operations[1].on_batch([Record(a=1), Record(a="\ud800"), Record(a=2)])

    assert kept == [{"a": 1}, {"a": 2}]
    assert [each.record for each in seen] == [{"a": "\ud800"}]


def test_a_bundle_that_the_job_does_not_list_is_a_fault_of_the_job():
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", {"_op": "script", "command": "x", "asset": "nowhere"})

    assert info.value.faults == (("operations[1].asset", 'the bundle "nowhere" is not in assets of the job'),)


def test_no_program_is_run_for_no_records():
    assert run(make_pipeline({"_op": "script", "command": "/does/not/exist"})).records == []


def test_no_shell_reads_the_arguments():
    code = "import sys, json; sys.stdin.read(); print(json.dumps([{'args': sys.argv[1:]}]))"
    spec = python(code)
    spec["args"] += ["$HOME", "a b", "; rm -rf nothing", "*"]

    assert run(make_pipeline(spec), {}).records == [{"args": ["$HOME", "a b", "; rm -rf nothing", "*"]}]


def test_the_folder_and_the_environment_can_be_set(tmp_path):
    code = """
    import json, os, sys
    sys.stdin.read()
    print(json.dumps([{"cwd": os.getcwd(), "a": os.environ["A"], "path": "PATH" in os.environ}]))
    """

    outcome = result(code, {}, options={"cwd": str(tmp_path), "env": {"A": 5}})

    assert outcome.records == [{"cwd": str(tmp_path), "a": "5", "path": True}]


def test_an_error_has_the_exit_code_and_the_last_lines():
    outcome = result("import sys\nfor i in range(50): print('line', i, file=sys.stderr)\nsys.exit(3)", {})

    assert outcome.state == "error"
    assert "ended with exit code 3:\nline 40\n" in outcome.error
    assert outcome.error.rstrip().endswith("line 49")
    assert "line 39" not in outcome.error


def test_an_error_names_the_signal():
    assert (
        "was killed by SIGSEGV" in result("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", {}).error
    )


@pytest.mark.parametrize("output", ["nonsense", "[1]", '{"a": 1', "7"])
def test_output_that_is_no_record_fails_with_its_line(output):
    outcome = result(f"import sys; sys.stdin.read(); print('{{}}')\nprint({output!r})", {}, protocol="lines")

    assert outcome.state == "error"
    assert "wrote in line 2" in outcome.error
    assert output in outcome.error


@pytest.mark.parametrize("options", [{"command": "/does/not/exist"}, {"options": {"cwd": "/does/not/exist"}}])
def test_a_program_that_can_not_be_run_is_not_tried_again(options):
    outcome = run(make_pipeline({**python("pass"), **options}), {})

    assert (outcome.state, outcome.retry_count) == ("error", 0)
    assert "/does/not/exist" in outcome.error


WITH_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
with open({file!r} + "~", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}}")
os.rename({file!r} + "~", {file!r})
time.sleep(600)
"""


async def all_dead(pids):
    """Wait until the processes are gone: SIGKILL has been sent, and takes its time."""
    await wait_for(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()), "all are dead")


async def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"

    outcome = result(WITH_CHILD.format(file=str(pids)), {}, timeout="3s")

    assert "took longer than 3 s" in outcome.error
    await all_dead(pids)


async def test_a_worker_that_stops_in_a_hurry_kills_the_program(tmp_path):
    pids = tmp_path / "pids"

    def hurry(_seconds):
        if pids.exists():
            raise Interrupted("stopping")

    pipeline = make_pipeline(python(WITH_CHILD.format(file=str(pids))), context=OpContext(sleep=hurry))

    with pytest.raises(Interrupted):
        run(pipeline, {})
    await all_dead(pids)


WORKER = """
import sys
from tests.support.pipelines import make_pipeline, run
run(make_pipeline({{"_op": "script", "command": sys.executable, "args": ["-c", {code!r}]}}), {{}})
"""


async def test_a_program_dies_with_a_worker_that_is_killed(tmp_path):
    pids = tmp_path / "pids"
    code = WORKER.format(code=WITH_CHILD.format(file=str(pids)))
    with subprocess.Popen([sys.executable, "-c", code]) as worker:
        await wait_for(pids.exists, "the program runs")
        program, grandchild = pids.read_text().split()
        worker.kill()

    await wait_for(lambda: not is_alive(int(program)), "the program is dead")
    os.kill(int(grandchild), signal.SIGKILL)  # which nobody else ends; the docs say so


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"command": ""}, "command"),
        ({"command": "a\0b"}, "command"),
        ({"protocol": "json"}, "protocol"),
        ({"args": "x"}, "args"),
        ({"args": [1]}, "args"),
        ({"timeout": 0}, "timeout"),
        ({"options": {"shell": True}}, "options.shell"),
        ({"options": {"env": {"A=": 1}}}, "options.env"),
        ({"options": {"cwd": 5}}, "options.cwd"),
    ],
    ids=range(9),
)
def test_options_that_can_not_work_are_refused(options, field):
    with pytest.raises(JobInvalid) as info:
        checked("list_reader", {"_op": "script", "command": "x", **options})

    assert [path for path, _ in info.value.faults] == [f"operations[1].{field}"]
