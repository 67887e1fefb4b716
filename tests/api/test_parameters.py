import pytest

from tsd.errors import InvalidRequest
from tsd.master.api import parameters


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("No", False), ("0", False)],
)
def test_booleans_have_six_spellings_in_any_case(word, value):
    assert parameters.read_boolean("force", [word], default=not value) is value


def test_an_absent_or_empty_boolean_has_its_default():
    assert parameters.read_boolean("start", [], default=True)
    assert parameters.read_boolean("start", [""], default=True)


def test_another_word_is_no_boolean():
    with pytest.raises(InvalidRequest, match=r"force must be true or false, got perhaps"):
        parameters.read_boolean("force", ["perhaps"], default=False)


@pytest.mark.parametrize(
    ("given", "value"), [([], False), (["false"], False), (["true"], True), ([""], True)]
)
def test_deleted_given_without_a_value_asks_for_the_deleted(given, value):
    """Covers 37 of rest-api.md."""
    assert parameters.read_deleted(given) is value


def test_a_wrong_deleted_is_refused_in_the_words_that_clients_know():
    """Covers 36 of rest-api.md."""
    with pytest.raises(InvalidRequest, match=r"^deleted query option must true or false$"):
        parameters.read_deleted(["perhaps"])


@pytest.mark.parametrize(
    ("word", "value"),
    [("5", 5), ("1e1", 10), ("1_000", 1000), ("1,000", 1000), ("7.9", 7), ("0x10", 16), ("", 100)],
)
def test_counts_are_read_as_javascript_reads_numbers(word, value):
    assert parameters.read_count("size", [word], default=100) == value


@pytest.mark.parametrize(
    ("given", "shown"),
    [(["abc"], "abc"), (["5", "6"], "5,6"), (["1__0"], "1__0"), (["Infinity"], "Infinity")],
)
def test_a_size_that_is_no_number_is_refused_as_given(given, shown):
    """Covers 35 of rest-api.md; 400 where Teraslice says 500."""
    with pytest.raises(InvalidRequest, match=rf"^size parameter must be a integer, got {shown}$"):
        parameters.read_count("size", given, default=100)


def test_blanks_are_those_of_javascript():
    assert parameters.read_count("size", ["\u00a0\ufeff 7\n"], default=100) == 7
    with pytest.raises(InvalidRequest, match="size parameter must be a integer"):
        parameters.read_count("size", ["\x1c"], default=100)


def test_a_window_beyond_ten_thousand_is_refused():
    with pytest.raises(InvalidRequest, match="Result Window Is Too Large"):
        parameters.read_page(size=["1"], start=["10000"], sort=[])


def test_words_come_separated_or_repeated_and_a_star_means_all():
    assert parameters.read_words(["running, failed", "paused"]) == ("running", "failed", "paused")
    assert parameters.read_words([]) == ()
    assert parameters.read_words(["*"]) == ()


@pytest.mark.parametrize("name", ["add", "remove", "total"])
def test_workers_are_added_removed_or_set(name):
    assert parameters.read_workers([("size", "1"), (name, "2")]) == (name, 2)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("add", "abc")],
        [("add", "-1")],
        [("add", "0")],
        [("add", "1.5")],
        [("add", "")],
        [("add", "1"), ("total", "2")],
        [("add", "1"), ("add", "1")],
    ],
)
def test_any_other_number_of_workers_is_refused(pairs):
    """Covers 75 of rest-api.md and 9 of cluster.md; 0, fractions and several keys are refused too."""
    message = (
        r"^Must provide a valid worker parameter\(add/remove/total\) that is a number and greater than zero$"
    )
    with pytest.raises(InvalidRequest, match=message):
        parameters.read_workers(pairs)


@pytest.mark.parametrize("value", ["1000001", "1e300"])
def test_more_workers_than_can_be_asked_for_are_refused_with_the_limit(value):
    with pytest.raises(InvalidRequest, match=rf"^total={value}: at most 1,000,000 workers can be asked for$"):
        parameters.read_workers([("total", value)])


def test_durations_are_words_or_milliseconds():
    assert parameters.read_duration_s("timeout", ["5 seconds"]) == 5
    assert parameters.read_duration_s("timeout", ["1500"]) == 1.5
    assert parameters.read_duration_s("timeout", []) is None
    with pytest.raises(InvalidRequest, match=r"timeout: .*parsecs"):
        parameters.read_duration_s("timeout", ["5 parsecs"])
