"""How far back what operations hold reaches: compared with records that know where they are from."""

from hypothesis import given
from hypothesis import strategies as st

from tsd.operations.holding import Holdings


class Holder:
    """Holds records until there are so many, as (slice it came in, slice it is of)."""

    def __init__(self, size):
        self.size = size
        self.held = []

    def held_since(self):
        return self.held[0][0] if self.held else None

    def take(self, number, origins):
        self.held += [(number, origin) for origin in origins]
        count = len(self.held) - len(self.held) % self.size
        gone, self.held = self.held[:count], self.held[count:]
        return [origin for _, origin in gone]

    def flush(self, number, origins):
        gone, self.held = [*self.held, *((number, origin) for origin in origins)], []
        return [origin for _, origin in gone]


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    slices=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60),
)
def test_no_slice_counts_as_done_while_any_operation_holds_a_record_of_it(sizes, slices):
    holders = [Holder(size) for size in sizes]
    holdings = Holdings([holder.held_since for holder in holders])
    for number, (count, flushes) in enumerate(slices, start=1):
        holdings.begin(number)
        records = [number] * count
        for holder in holders:
            records = holder.take(number, records)
        check(holders, holdings)
        if flushes:
            records = []
            for holder in holders:
                records = holder.flush(number, records)
            assert holdings.since() is None


def check(holders, holdings):
    truth = min((origin for holder in holders for _, origin in holder.held), default=None)
    told = holdings.since()
    assert (told is None) == (truth is None)
    assert told is None or told <= truth


def test_one_holder_is_taken_at_its_word():
    holder = Holder(3)
    holdings = Holdings([holder.held_since])
    told = []
    for number in range(1, 7):
        holdings.begin(number)
        holder.take(number, [number])
        told.append(holdings.since())
    assert told == [1, 1, None, 4, 4, None]


def test_nothing_is_remembered_of_slices_that_are_done():
    holder = Holder(2)
    holdings = Holdings([holder.held_since, holder.held_since])
    for number in range(1, 1_000):
        holdings.begin(number)
        holder.take(number, [number])
        holdings.since()
    assert max(map(len, holdings._ages)) <= 2
