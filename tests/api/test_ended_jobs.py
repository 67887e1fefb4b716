"""Counting how executions ended by the name of their job."""

from tests.support.daemons import TERMINAL, cluster_for, until
from tests.support.scrape import series, values_of
from tsd.core.records import Status
from tsd.master.ended import NAMES_MAX, OTHERS, EndedJobs, Ends


def test_ends_are_counted_by_name_and_status():
    ended = EndedJobs()
    ended.note("a", Status.COMPLETED, 1.0)
    ended.note("a", Status.COMPLETED, 3.0)
    ended.note("a", Status.FAILED, 2.0)

    assert ended.figures() == {("a", Status.COMPLETED): Ends(2, 3.0), ("a", Status.FAILED): Ends(1, 2.0)}


def test_names_are_bounded_and_nothing_is_lost_of_the_sum():
    ended = EndedJobs()
    for number in range(3 * NAMES_MAX):
        ended.note(f"job of day {number}", Status.FAILED, float(number))

    figures = ended.figures()
    assert len(figures) == NAMES_MAX + 1
    assert figures[OTHERS, Status.FAILED] == Ends(2 * NAMES_MAX, 2 * NAMES_MAX - 1)
    assert sum(ends.count for ends in figures.values()) == 3 * NAMES_MAX
    assert (f"job of day {3 * NAMES_MAX - 1}", Status.FAILED) in figures


def test_a_name_that_ends_again_stays():
    ended = EndedJobs()
    for number in range(2 * NAMES_MAX):
        ended.note("often", Status.STOPPED, float(number))
        ended.note(f"once {number}", Status.STOPPED, float(number))

    assert ended.figures()["often", Status.STOPPED].count == 2 * NAMES_MAX


def test_names_that_are_cut_to_the_same_label_are_one():
    ended = EndedJobs()
    ended.note("x" * 300 + "1", Status.FAILED, 1.0)
    ended.note("x" * 300 + "2", Status.FAILED, 2.0)

    assert [ends.count for ends in ended.figures().values()] == [2]


def test_a_scrape_says_which_job_failed(request, tmp_path):
    bad = {
        "name": "the bad one",
        "workers": 1,
        "max_retries": 0,
        "operations": [{"_op": "test-reader", "passthrough_slice": True}, {"_op": "noop"}],
    }
    good = bad | {"name": "the good one", "operations": [{"_op": "test-reader"}, {"_op": "noop"}]}
    with cluster_for(request, tmp_path, workers=4) as cluster:
        cluster.start_master()
        cluster.start_node()
        with cluster.client() as api:
            for job in (bad, good):
                ex_id = api.post("/jobs", json=job).json()["ex_id"]
                until(lambda ex_id=ex_id: api.get(f"/ex/{ex_id}").json()["_status"] in TERMINAL, "the end")
            text = api.get("/metrics").text

    ended = "tsd_job_executions_ended_total"
    values = values_of(text)
    assert values[series(ended, job_name="the bad one", status="failed")] == 1
    assert values[series(ended, job_name="the good one", status="completed")] == 1
    assert sum(key[0] == ended for key in values) == 2
