from tsd.master.api.table import render


def test_columns_are_padded_to_their_widest_cell():
    """Covers the example of rest-api.md 10.1."""
    rows = [{"pid": 12}, {"job_id": "j1", "pid": 14}]

    assert render(rows, ["job_id", "pid"], has_headers=True) == (
        "job_id  pid\n------  ---\nN/A     12 \nj1      14 \n"
    )


def test_without_headers_widths_come_from_the_cells_alone():
    """Covers 102 of rest-api.md."""
    assert render([{"long_name": 1, "b": 22}], ["long_name", "b"], has_headers=False) == "1  22\n"


def test_a_table_without_rows_has_one_blank_line():
    """Covers 103 of rest-api.md."""
    assert render([], ["ab", "c"], has_headers=True) == "ab  c\n--  -\n     \n"
    assert render([], ["ab", "c"], has_headers=False) == "  \n"


def test_values_print_as_in_javascript():
    """Covers 104 of rest-api.md."""
    row = {"a": None, "b": True, "c": [1, "x"], "d": {"e": 1}, "f": "two\nlines", "g": 2.0}

    assert render([row], list("abcdefgh"), has_headers=False) == (
        "null  true  1,x  [object Object]  N/A  two lines  2  N/A\n"
    )


def test_a_column_may_reach_into_objects_and_arrays():
    row = {"operations": [{"_op": "noop"}], "labels": {"team": "x"}}

    assert render([row], ["operations[0]._op", "labels.team", "labels.none"], has_headers=False) == (
        "noop  x  N/A\n"
    )


def test_wide_letters_count_twice():
    assert render([{"a": "日本", "b": 1}, {"a": "abcd", "b": 2}], ["a", "b"], has_headers=False) == (
        "日本  1\nabcd  2\n"
    )
