"""Sheets of metrics: names, labels, and a text that Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tsd.core.histograms import Histogram
from tsd.observe.metric_names import METRICS
from tsd.observe.metrics import LABEL_CHARS_MAX, Kind, Metric, Sheet, label_value

GAUGE = Metric("tsd_some", Kind.GAUGE, "Something", ("job_name",))
COUNTER = Metric("tsd_done_total", Kind.COUNTER, "Done")
HISTOGRAM = Metric("tsd_took_seconds", Kind.HISTOGRAM, "Took", ("route",))


def sheet():
    return Sheet(cluster_name="c1", url="http://here")


def text_of(sheet):
    """Without the metrics of the process, which vary."""
    return sheet.render().decode().partition("# HELP process_")[0].partition("# HELP python_info")[0]


def test_each_kind_is_written_as_prometheus_wants_it():
    filled = sheet()
    filled.put(GAUGE, 2.5, "numbers")
    filled.put(COUNTER, 7)
    filled.put_histogram(HISTOGRAM, Histogram((0.5, 1.0), (1, 2, 3), 9.5), "/jobs/<job_id>")

    assert (
        text_of(filled)
        == """\
# HELP tsd_some Something
# TYPE tsd_some gauge
tsd_some{job_name="numbers",name="c1",url="http://here"} 2.5
# HELP tsd_done_total Done
# TYPE tsd_done_total counter
tsd_done_total{name="c1",url="http://here"} 7.0
# HELP tsd_took_seconds Took
# TYPE tsd_took_seconds histogram
tsd_took_seconds_bucket{le="0.5",name="c1",route="/jobs/<job_id>",url="http://here"} 1.0
tsd_took_seconds_bucket{le="1",name="c1",route="/jobs/<job_id>",url="http://here"} 3.0
tsd_took_seconds_bucket{le="+Inf",name="c1",route="/jobs/<job_id>",url="http://here"} 6.0
tsd_took_seconds_count{name="c1",route="/jobs/<job_id>",url="http://here"} 6.0
tsd_took_seconds_sum{name="c1",route="/jobs/<job_id>",url="http://here"} 9.5
"""
    )


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        'a "quoted" one',
        "back\\slash",
        "two\nlines\r\n",
        "half \ud800 pair",
        "x" * 5000,
        "ü\0\x1b[31m",
        "{}=",
    ],
)
def test_whatever_a_job_is_called_the_text_can_be_read(name):
    filled = sheet()
    filled.put(GAUGE, 1, label_value(name))

    families = {family.name: family for family in text_string_to_metric_families(filled.render().decode())}

    value = families["tsd_some"].samples[0].labels["job_name"]
    assert value == label_value(name)
    assert len(value) <= LABEL_CHARS_MAX
    assert value.isprintable()


def test_the_metrics_of_the_process_and_of_python_are_there():
    text = sheet().render().decode()

    assert "process_resident_memory_bytes " in text
    assert "python_info{" in text


def test_sheets_know_nothing_of_each_other():
    one, other = sheet(), sheet()
    one.put(COUNTER, 1)

    assert "tsd_done" not in text_of(other)


def test_names_are_those_that_prometheus_advises():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith(("tsd_", "teraslice_"))
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert metric.text
