import pytest

from tsd import errors
from tsd.master.api.problems import STATUS_OF, problem, status_of

CLASSES = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.TsdError)
]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_of_tsd_has_its_own_http_status(error):
    assert error in STATUS_OF


def test_a_more_special_error_has_the_status_of_its_ancestor():
    class Stranger(errors.Gone):
        pass

    assert status_of(Stranger("x")) == 410


def test_a_problem_names_its_status_and_its_message():
    assert problem(404, " no such job ") == {"error": 404, "message": "no such job"}


def test_long_messages_are_cut_to_three_thousand_characters():
    message = problem(400, "x" * 5000)["message"]

    assert len(message) == 3000
    assert message.endswith("x ...")
