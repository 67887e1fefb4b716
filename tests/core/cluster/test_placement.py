from hypothesis import given
from hypothesis import strategies as st

from tsd.core.cluster.placement import Ask, Room, place


def rooms(**free):
    return [Room(node_id=node_id, free=slots) for node_id, slots in free.items()]


def ask(ex_id="x", workers=1, controller=True, **more):
    return Ask(ex_id=ex_id, controller=controller, workers=workers, **more)


def placed(grants):
    return {grant.ex_id: (grant.controller, sorted(grant.workers)) for grant in grants}


def test_an_execution_needs_a_slot_for_its_controller_and_one_for_a_worker():
    """E5, cluster 3."""
    assert place(rooms(a=1), [ask()]) == []
    assert placed(place(rooms(a=2), [ask()])) == {"x": ("a", ["a"])}
    assert placed(place(rooms(a=1, b=1), [ask()])) == {"x": ("a", ["b"])}


def test_a_controller_goes_to_the_emptiest_node_without_one():
    """Cluster 4."""
    floor = [
        Room(node_id="a", free=8, has_controller=True),
        Room(node_id="b", free=3),
        Room(node_id="c", free=4),
    ]

    assert place(floor, [ask()])[0].controller == "c"


def test_a_controller_goes_to_the_emptiest_node_when_all_have_one():
    """Cluster 4."""
    floor = [
        Room(node_id="a", free=2, has_controller=True),
        Room(node_id="b", free=3, has_controller=True),
    ]

    assert place(floor, [ask()])[0].controller == "b"


def test_a_node_where_the_start_failed_is_the_last_choice():
    assert place(rooms(a=9, b=2), [ask(avoid=frozenset("a"))])[0].controller == "b"
    assert place(rooms(a=9), [ask(avoid=frozenset("a"))])[0].controller == "a"


def test_four_workers_are_split_evenly_over_two_equally_free_nodes():
    """Cluster 5."""
    grants = place(rooms(a=4, b=4), [ask(workers=4, controller=False)])

    assert placed(grants) == {"x": (None, ["a", "a", "b", "b"])}


def test_the_count_of_each_node_falls_while_workers_are_dealt():
    """Ten and one free slots asked for six give five and one, never three and three (cluster 3.3)."""
    grants = place(rooms(a=10, b=1), [ask(workers=6, controller=False, has_workers=True)])

    assert grants[0].workers == ["a"] * 6


def test_executions_are_placed_in_the_order_in_which_they_came():
    """E4."""
    assert placed(place(rooms(a=3), [ask("first"), ask("second")])) == {"first": ("a", ["a"])}


def test_one_that_does_not_fit_holds_nobody_back():
    """B10."""
    asks = [ask("big", needs=5), ask("small")]

    assert placed(place(rooms(a=3), asks)) == {"small": ("a", ["a"])}


def test_everybody_starts_before_anybody_gets_more_workers():
    """B10: an execution that wants more than there is does not keep another one from starting."""
    asks = [ask("starved", workers=7, controller=False, has_workers=True), ask("next")]

    assert placed(place(rooms(a=4), asks)) == {
        "starved": (None, ["a", "a"]),
        "next": ("a", ["a"]),
    }


def test_the_room_of_one_that_waits_is_not_given_to_those_that_want_more():
    """B10: slots come free one by one; whoever always wants more would take each of them."""
    asks = [ask("starved", workers=7, controller=False, has_workers=True), ask("next")]

    assert placed(place(rooms(a=1), asks)) == {}
    assert placed(place(rooms(a=2), asks)) == {"next": ("a", ["a"])}


def test_an_execution_without_any_worker_comes_first():
    asks = [
        ask("many", workers=5, controller=False, has_workers=True),
        ask("none", workers=5, controller=False),
    ]

    assert placed(place(rooms(a=1), asks)) == {"none": (None, ["a"])}


def test_what_is_left_goes_to_the_oldest():
    """Cluster 6."""
    asks = [
        ask("old", workers=3, controller=False, has_workers=True),
        ask("new", workers=3, controller=False, has_workers=True),
    ]

    assert placed(place(rooms(a=4), asks)) == {"old": (None, ["a"] * 3), "new": (None, ["a"])}


@given(
    st.lists(st.integers(0, 5), max_size=6),
    st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.booleans()), max_size=6),
)
def test_no_more_is_given_than_is_free_and_nothing_that_was_not_asked_for(free, wishes):
    floor = {f"n{number}": slots for number, slots in enumerate(free)}
    asks = [
        ask(f"x{number}", workers=workers, controller=controller, has_workers=has_workers)
        for number, (controller, workers, has_workers) in enumerate(wishes)
    ]

    grants = place(rooms(**floor), asks)

    given_away = [node for grant in grants for node in [grant.controller, *grant.workers] if node]
    assert all(given_away.count(node_id) <= floor[node_id] for node_id in given_away)
    by_id = {each.ex_id: each for each in asks}
    for grant in grants:
        assert len(grant.workers) <= by_id[grant.ex_id].workers
        assert grant.controller is None or by_id[grant.ex_id].controller
        assert grant.controller is not None or not by_id[grant.ex_id].controller
    left = sum(floor.values()) - len(given_away)
    placed_ids = {grant.ex_id for grant in grants if grant.controller}
    waiting = [each.needs for each in asks if each.controller and each.ex_id not in placed_ids]
    if left > min(waiting, default=0):
        granted = {grant.ex_id: len(grant.workers) for grant in grants}
        missing = [each for each in asks if not each.controller and granted.get(each.ex_id, 0) < each.workers]
        assert not missing, "free slots are left while workers are missing"
