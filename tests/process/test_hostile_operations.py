"""What operations hand over or do stays within its slice: real daemons, and all jobs at once.

Each case says what is done and where; the other slices are run in any case, each of them comes out, and neither
the node nor the master minds.
"""

import subprocess
from collections import Counter

import attrs
import pytest

from tests.support.daemons import cluster_for, until
from tests.support.hostile_operations import BAD, HELPER_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NUMBERS = range(1, 7)


@attrs.frozen
class Case:
    """A job of which one thing goes wrong.

    Attributes:
        act: What is done, a name of `tests.support.hostile_operations`.
        where: Where; `slice` is in the middle operation, in the third slice.
        says: Part of the error of the slice, or else of the reason of the failure; empty when nothing goes wrong.
        max_retries: Of the job.
        runs: How often slice 3 is run.
        op: The middle operation.
    """

    act: str
    where: str
    says: str = ""
    max_retries: int = 0
    runs: int = 1
    op: str = "hostile"

    @property
    def is_of_a_slice(self):
        """Whether it is the fault of one slice, and not of the execution."""
        return self.where in {"slice", "hook", "fetcher"}

    def __str__(self):
        return f"{self.act} in {self.where} of {self.op}, {self.max_retries}"


CASES = [
    # in a slice
    Case("exit 0", "slice", "with exit code 0"),
    Case("exit 3", "slice", "it ended 2 times while it ran this slice, at last with exit code 3", 1, 2),
    Case("sys.exit", "slice", "SystemExit"),
    Case("segfault", "slice", "signal 11 (SIGSEGV)"),
    Case("abort", "slice", "signal 6 (SIGABRT)", 1, 2),
    Case("sigkill", "slice", "signal 9 (SIGKILL), as the kernel does when memory runs out"),
    Case("sigalrm", "slice", "signal 14 (SIGALRM)"),
    Case("keyboard", "slice", "KeyboardInterrupt"),
    Case("base", "slice", "of my own", 1, 2),
    Case("memory", "slice", "MemoryError", 1, 2),
    Case("close all", "slice", "caused by the end of its worker process", 1, 2),
    Case("surrogate", "slice", "caf\\udce9.txt", 1, 2),
    Case("huge text", "slice", "ValueError: xxx"),
    Case("sigstop", "slice", "a worker process that stood still: it had to be given up 2 times", 1, 2),
    Case("exit 3 in a thread", "slice", "it ended 2 times", 1, 2),
    Case("exit 3", "hook", "with exit code 3"),
    Case("exit 3", "fetcher", "with exit code 3", runs=0),
    Case("keyboard", "hook", "KeyboardInterrupt"),
    Case("surrogate", "hook"),
    Case("fatal", "slice", "caf\\udce9 ends this worker"),
    Case("surrogate", "slice", "caf\\udce9.txt", 1, 2, op="hostile-async"),
    # forks
    Case("fork, return", "slice"),
    Case("fork, raise", "slice"),
    Case("fork, sys.exit", "slice"),
    Case("multiprocessing", "slice"),
    Case("fork, return", "slice", op="hostile-async"),
    Case("multiprocessing", "slice", op="hostile-async"),
    # around slices
    Case("exit 3", "initialize", "exited with code 3 while initializing operation hostile (operations[1])"),
    Case(
        "segfault", "initialize", "signal 11 (SIGSEGV) while initializing operation hostile (operations[1])"
    ),
    Case("close all", "initialize", "while initializing operation hostile (operations[1])"),
    Case("sys.exit", "initialize", "an operation tried to end its process while it was initialized"),
    Case("keyboard", "initialize", "KeyboardInterrupt"),
    Case("surrogate", "initialize", "caf\\udce9.txt"),
    Case("exit 3", "fetcher.initialize", "while initializing operation hostile-count (operations[0])"),
    Case("exit 3", "api", "while initializing API hostile-api (apis[0])"),
    Case("exit 3", "shutdown"),
    Case("exit 3", "finished"),
    # the slicer
    Case(
        "exit 3",
        "slicer.initialize",
        "exit code 3 while initializing the slicer of hostile-count (operations[0])",
    ),
    Case("surrogate", "slicer", "caf\\udce9.txt"),
    Case("sys.exit", "slicer", "the slicer tried to end its process, caused by"),
    Case("base", "slicer", "of my own"),
    Case("fork, return", "slicer"),
    Case("nan", "slicer", "request.x is nan, which JSON does not have"),
    Case("bytes", "slicer", "request.x is b'abc' of type bytes"),
    Case("set", "slicer", "request.x[0] is {1} of type set"),
    Case("tuple", "slicer", "request.x is (1, 2) of type tuple"),
    Case("date", "slicer", "of type datetime.date"),
    Case("decimal", "slicer", "of type decimal.Decimal"),
    Case("path", "slicer", "of type pathlib.PosixPath"),
    Case("key", "slicer", "request.x has the key 1 of type int"),
    Case("lone", "slicer", "half a surrogate pair"),
    Case("20 MB", "slicer", "is 20.0 MB as JSON; at most 16.8 MB"),
    Case("16 MB", "slicer"),
    Case("huge number", "slicer"),
    # what it starts
    Case("daemonize", "slice"),
    Case("helper", "slice"),
    Case("helper", "initialize"),
]


def job_of(case: Case, folder) -> dict:
    def entry(op, is_place):
        act = {"act": case.act, "where": case.where} if is_place else {}
        return {"_op": op, "folder": str(folder), **act}

    in_reader = case.where.startswith(("slicer", "fetcher"))
    job = {
        "name": str(case),
        "workers": 1,
        "max_retries": case.max_retries,
        "operations": [
            entry("hostile-count", in_reader),
            entry("hostile", not in_reader and case.op == "hostile"),
            entry("hostile-out", is_place=False),
        ],
    }
    if case.op != "hostile":
        job["operations"].insert(2, entry(case.op, is_place=True))
    if case.where == "api":
        job["apis"] = [{"_name": "hostile-api", "act": case.act}]
    return job


@pytest.fixture(scope="module")
def posted(request, tmp_path_factory):
    """The cluster, and (folder, execution) of each case."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = {
        "teraslice.worker_disconnect_timeout": "5s",
        "tsd.operation_modules": ["tests.support.hostile_operations"],
    }
    with cluster_for(request, folder, workers=12, **settings) as cluster:
        cluster.start_master()
        node = cluster.start_node("node-1")
        executions = {}
        for number, case in enumerate(CASES):
            place = folder / str(number)
            place.mkdir()
            executions[case] = place, cluster.post_job(job_of(case, place))[1]
        yield cluster, executions
        assert node.exit_code is None


def lines_of(path) -> Counter:
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_done_stays_within_its_slice(posted, case):
    cluster, executions = posted
    folder, ex_id = executions[case]
    is_well = not case.says
    wanted = "completed" if is_well else "failed"
    execution = cluster.wait_status(ex_id, "completed", "failed", within_s=120)
    reason = execution["_failureReason"] or ""
    records = {each["request"]["number"]: each for each in cluster.records(ex_id)}

    assert execution["_status"] == wanted, reason
    if case.is_of_a_slice or is_well:
        others = [number for number in NUMBERS if is_well or number != BAD]
        assert [n for n, record in sorted(records.items()) if record["state"] == "completed"] == others
        # A slice that was run beside one that ended the worker may have been run once more.
        assert set(lines_of(folder / "out")) >= set(others)
        if is_well and case.where != "finished":
            assert set(lines_of(folder / "out").values()) == {1}
        assert lines_of(folder / "runs")[BAD] == case.runs
    if case.is_of_a_slice and not is_well:
        assert records[BAD]["state"] == "error"
        assert case.says in records[BAD]["error"]
        assert "had 1 slice failure" in reason
    elif not is_well:
        assert case.says in reason


def test_nothing_is_left_of_what_they_have_started(posted):
    """Neither daemons in sessions of their own, nor children of forks, nor zombies."""
    cluster, executions = posted
    for _, ex_id in executions.values():
        cluster.wait_status(ex_id, "completed", "failed", within_s=120)

    def processes():
        done = subprocess.run(["ps", "-eo", "pid=,state=,args="], capture_output=True, text=True, check=True)
        return [line.split(None, 2) for line in done.stdout.splitlines()]

    def left():
        helpers = [pid for pid, _, args in processes() if args == f"sleep {HELPER_S}"]
        return helpers + [
            pid for pid, _, args in processes() if any(ex in args for _, ex in executions.values())
        ]

    until(lambda: not left(), "all of it has ended", 20)
    assert "fork.ended" in (cluster.folder / "node-1.log").read_text()
