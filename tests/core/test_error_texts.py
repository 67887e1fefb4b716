"""The text of an exception: what happened first, then the code of the user, then the rest."""

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tsd.error_texts import TEXT_CHARS, bounded, error_line, error_text, head_of, located, one_line, visible
from tsd.errors import Fatal, JobInvalid, NonRetryable, OperationError
from tsd.operations import formats


def caught(function, *args):
    try:
        function(*args)
    except BaseException as error:  # noqa: BLE001 - any is looked at
        return error
    raise AssertionError("it did not raise")


def raised(error):
    def throw():
        raise error

    return caught(throw)


def price(record):
    try:
        return float(record["price"])
    except KeyError as error:
        raise ValueError("no price") from error


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not telling")


class NoText(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - the case


class Closed(Exception):
    __slots__ = ()

    def __setattr__(self, name, value):
        raise AttributeError(name)


def test_the_first_line_has_place_type_message_and_causes():
    error = caught(price, {})

    assert error_text(error, place="derive (operations[1])").splitlines()[0] == (
        "derive (operations[1]): ValueError: no price, caused by KeyError: 'price'"
    )


def test_below_are_the_frames_of_the_code_of_the_user_of_each_error():
    head = head_of(error_text(caught(price, {})))

    _, *lines = head.splitlines()
    assert lines.count("caused by KeyError: 'price'") == 1
    place = lines.index("caused by KeyError: 'price'")
    assert 'raise ValueError("no price") from error' in lines[place - 1]
    assert "return float(record" in lines[-1]
    assert all(__file__ in line for line in lines if line.startswith("  File"))


def test_frames_of_tsd_are_in_the_traceback_only():
    error = caught(formats.required_string, 5)
    text = error_text(error)

    assert formats.__file__ not in head_of(text)
    assert formats.__file__ in text
    assert "Traceback (most recent call last):" in text


def test_frames_of_what_async_code_runs_on_are_in_the_traceback_only():
    async def fail():
        raise ValueError("async")

    text = error_text(caught(trio.run, fail))

    assert "/trio/" not in head_of(text)
    assert "/trio/" in text


def test_what_is_raised_while_another_error_is_handled_names_it():
    def clean_up():
        try:
            return {}["a"]
        except KeyError:
            raise RuntimeError("no cleaning")  # noqa: B904 - the case

    assert error_line(caught(clean_up)) == "RuntimeError: no cleaning, caused by KeyError: 'a'"


def test_a_cause_that_is_hidden_on_purpose_is_not_told():
    def hide():
        try:
            return {}["a"]
        except KeyError:
            raise RuntimeError("no a") from None

    text = error_text(caught(hide))
    assert "KeyError" not in text.replace("except KeyError", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError(), "KeyError"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(""), "ValueError"),
        (ValueError("  \n "), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("one\ntwo:\n   three\r\nfour\u2028five"), "ValueError: one; two: three; four; five"),
        (ValueError("red \x1b[31m nul \x00 c1 \x9b turn \u202e"), r"ValueError: red \x1b[31m nul \x00 c1 \x9b turn \u202e"),
        (OSError(2, "No such file", "caf\udce9"), r"FileNotFoundError: [Errno 2] No such file: 'caf\udce9'"),
        (ValueError("caf\udce9"), r"ValueError: caf\udce9"),
        (Unspeakable(), "Unspeakable: (its text cannot be shown, __str__ raised RuntimeError)"),
        (NoText(), "NoText: (its text cannot be shown, __str__ raised TypeError)"),
        (ExceptionGroup("both", [ValueError("a"), KeyError("b")]), "ExceptionGroup: both (2 sub-exceptions): ValueError: a | KeyError: 'b'"),
        (ExceptionGroup("g", [ExceptionGroup("h", [OSError("in")])]), "ExceptionGroup: g (1 sub-exception): ExceptionGroup: h (1 sub-exception): OSError: in"),
    ],
    ids=range(13),
)  # fmt: skip
def test_the_line_of_odd_errors(error, line):
    for each in (error, raised(error)):
        assert error_line(each) == line
        assert error_text(each).splitlines()[0] == line


def test_large_groups_say_how_many_more_there_are():
    line = error_line(ExceptionGroup("g", [ValueError(n) for n in range(2_000)]))

    assert "ValueError: 4 | and 1,995 more" in line


def test_groups_show_where_their_members_were_raised():
    members = [raised(ValueError("a")), raised(KeyError("b"))]
    head = head_of(error_text(raised(ExceptionGroup("g", members))))

    assert "member ValueError: a" in head
    assert "member KeyError: 'b'" in head


def test_notes_and_the_place_of_a_record_stand_behind_the_message():
    error = ValueError("bad")
    error.add_note("of customer 7")
    error.add_note("see\nthe manual")
    located(error, "derive (operations[1])", "record 3 of 10")

    assert (
        error_line(error)
        == "derive (operations[1]): ValueError: bad (record 3 of 10; of customer 7; see; the manual)"
    )


@pytest.mark.parametrize("notes", [5, [5, None], "text", [["x"]]])
def test_notes_of_the_wrong_type_are_no_fault(notes):
    error = ValueError("bad")
    error.__notes__ = notes

    assert error_line(error) == "ValueError: bad"


def test_an_error_that_takes_no_place_is_told_without():
    error = Closed("bad")
    located(error, "derive (operations[1])")

    assert error_line(error).endswith("Closed: bad")


def test_each_cause_has_its_own_place():
    inner, outer = ValueError("veto"), OperationError("no retry")
    located(inner, "watch (apis[0])")
    outer.__cause__ = inner

    assert error_line(outer) == "no retry, caused by watch (apis[0]): ValueError: veto"


def test_a_ring_of_causes_is_walked_once():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert error_line(first) == "ValueError: first, caused by ValueError: second"
    assert error_text(raised(first))


def test_a_long_chain_says_that_there_is_more():
    error = ValueError("0")
    for number in range(1, 3_000):
        above = ValueError(str(number))
        above.__cause__, error = error, above

    assert error_line(error).endswith("ValueError: 2994, and more")
    assert len(error_text(raised(error))) <= TEXT_CHARS


def test_errors_of_tsd_are_sentences_without_a_traceback():
    """None of them came by the code of a user here; `Fatal` is raised in no frame at all."""
    assert error_text(Fatal("the disk is gone")) == "the disk is gone"
    assert error_text(NonRetryable()) == "NonRetryable"
    cause = FileNotFoundError(2, "No such file or directory", "/x")
    error = OperationError(f"path /x cannot be read: {cause}")
    error.__cause__ = cause
    assert error_text(error) == "path /x cannot be read: [Errno 2] No such file or directory: '/x'"


def test_errors_of_tsd_that_users_raise_show_where():
    text = error_text(raised(NonRetryable("no such customer")))

    assert text.splitlines()[0] == "no such customer"
    assert __file__ in head_of(text)


def test_a_sentence_of_several_lines_is_shown_whole_below():
    error = JobInvalid("The job is wrong", [("a", "bad"), ("b", "worse")])

    assert error_text(error) == "The job is wrong; a: bad; b: worse\n\nThe job is wrong\na: bad\nb: worse"


def test_what_a_message_quotes_is_not_said_twice():
    def quote():
        try:
            float("Ada, who counts")
        except ValueError as error:
            raise ValueError(f"field n: {error}")  # noqa: B904 - the case

    assert (
        error_line(caught(quote))
        == "ValueError: field n: could not convert string to float: 'Ada, who counts'"
    )


def test_what_was_handled_before_a_cause_that_is_quoted_is_no_news():
    """As `Path.mkdir` tries again after an error."""
    first, second = (
        FileNotFoundError(2, "No such file", "/a/b/c"),
        FileNotFoundError(2, "No such file", "/a/b"),
    )
    second.__context__ = first
    error = OperationError(f"folder /a/b/c cannot be written: {second}")
    error.__cause__ = second

    assert error_line(error) == "folder /a/b/c cannot be written: [Errno 2] No such file: '/a/b'"


def test_a_short_cause_is_told_although_its_text_is_in_the_message():
    error = OperationError("item 5 has no 'a'")
    error.__cause__ = KeyError("a")

    assert error_line(error) == "item 5 has no 'a', caused by KeyError: 'a'"


def test_code_that_python_cannot_read_is_shown_with_its_line():
    error = caught(compile, "a = 1\nb = (", "/home/me/ops.py", "exec")

    head = head_of(error_text(error))
    assert head.splitlines()[0] == "SyntaxError: '(' was never closed (ops.py, line 2)"
    assert '  File "/home/me/ops.py", line 2\n    b = (' in head


def test_endless_recursion_is_told_in_a_few_frames():
    def down(n):
        return down(n + 1)

    text = error_text(caught(down, 0))

    assert text.startswith("RecursionError: maximum recursion depth exceeded\n")
    assert len(head_of(text).splitlines()) < 25
    assert "frames left out" in head_of(text)


def test_a_huge_message_is_cut_and_says_so():
    text = error_text(raised(ValueError("head" + "x" * 50_000_000 + "tail")))

    assert len(text) <= TEXT_CHARS
    assert text.startswith("ValueError: headxxx")
    assert text.endswith("tail")
    assert len(text.splitlines()[0]) <= 1_000
    assert "characters left out" in text.splitlines()[0]


@given(st.text(st.characters(codec=None, categories=None), max_size=300), st.integers(100, 2_000))
def test_any_text_can_be_stored_and_shown_within_its_limit(message, limit):
    error = raised(ValueError(message))
    for text in (error_text(error, limit=limit), error_line(error, limit=limit)):
        text.encode()
        assert json.loads(json.dumps(text)) == text
        assert len(text) <= limit
        assert not set(text) & {"\x1b", "\r", "\x00", "\u202e"}
    assert "\n" not in error_line(error)


@given(st.text(max_size=200), st.integers(60, 100))
def test_what_fits_is_not_changed_and_the_rest_keeps_both_ends(text, limit):
    cut = bounded(text, limit)

    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
    else:
        kept = limit - 60
        assert cut.startswith(text[: kept - kept // 3])
        assert cut.endswith(text[len(text) - kept // 3 :])


def test_lines_and_tabs_stay_in_a_text():
    assert visible("a\tb\nc\x07") == "a\tb\nc\\x07"
    assert one_line("") == ""


def test_an_error_whose_traceback_cannot_be_made_is_told_anyway(monkeypatch):
    """A loader of source text that fails, as of a module in a broken archive."""

    class Loader:
        def get_source(self, _name):
            raise MemoryError

    space = {"__name__": "odd", "__loader__": Loader()}
    exec(compile("def f(): raise ValueError('here')", "<odd>", "exec"), space)

    assert error_text(caught(space["f"])).startswith("ValueError: here\n")
