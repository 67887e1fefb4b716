"""The figures that tsd is held to: what each one is, its target, and how a table of them looks.

A figure is a ratio taken in one run wherever it can be, because machines are shared and noisy. `measure` of a
group returns the values of its rows; the median decides.
"""

import statistics
from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Row:
    """One figure.

    Attributes:
        key: Its name in the JSON.
        what: What is measured.
        unit: What the figure is in: a ratio to something, MB, ms.
        target: The bound.
        is_floor: The figure is to be at least the target; else at most.
        group: Which module measures it.
    """

    key: str
    what: str
    unit: str
    target: float
    is_floor: bool = False
    group: str

    def holds(self, value: float) -> bool:
        """Whether a value is on the good side of the target."""
        return value >= self.target if self.is_floor else value <= self.target


ROWS: tuple[Row, ...] = (
    Row(
        group="rates",
        key="plain",
        what="durable slices a second, 1-record slices, 2 workers, analytics off",
        unit="of the bare loop",
        target=0.40,
        is_floor=True,
    ),
    Row(
        group="rates",
        key="analytics",
        what="the same, analytics on",
        unit="of the bare loop",
        target=0.25,
        is_floor=True,
    ),
    Row(
        group="rates",
        key="work",
        what="slices of 10 ms of work, 2 workers",
        unit="of the ideal",
        target=0.95,
        is_floor=True,
    ),
    Row(
        group="starts",
        key="first slice",
        what="POST of a job to its first completed slice, warm node",
        unit="of a fresh Python",
        target=1.0,
    ),
    Row(
        group="starts",
        key="completed",
        what="POST to `completed` of a one-slice job",
        unit="of a fresh Python",
        target=1.5,
    ),
    Row(
        group="starts",
        key="stopped",
        what="`_stop` to `stopped`, idle slices",
        unit="of a fresh Python",
        target=1.0,
    ),
    Row(group="starts", key="ready", what="`tsd up` to `/ready`", unit="of a fresh Python", target=3.0),
    Row(
        group="footprint",
        key="worker",
        what="private memory (USS) of one more worker",
        unit="MB",
        target=20.0,
    ),
    Row(
        group="footprint",
        key="idle memory",
        what="idle cluster: master, node, fork server (PSS)",
        unit="MB",
        target=130.0,
    ),
    Row(group="footprint", key="idle cpu", what="processor of the idle cluster", unit="cores", target=0.01),
    Row(
        group="footprint",
        key="paused cpu",
        what="processor of a paused job with 8 workers, and its cluster",
        unit="cores",
        target=0.01,
    ),
    Row(
        group="million",
        key="master growth",
        what="memory of the master over 1,000,000 slices, after the first 100,000",
        unit="% more",
        target=10.0,
    ),
    Row(
        group="million",
        key="controller growth",
        what="the same of the controller",
        unit="% more",
        target=10.0,
    ),
    Row(
        group="million",
        key="full store",
        what="slices a second with 1,000,000 records in the store",
        unit="of an empty one",
        target=0.85,
        is_floor=True,
    ),
    Row(
        group="million",
        key="recovery",
        what="recovery of 1,000,000 recorded slices, 1,000 unfinished, to its first slice",
        unit="s",
        target=2.0,
    ),
    Row(
        group="rates",
        key="64 workers",
        what="slices a second with 64 worker processes",
        unit="of 2 workers",
        target=0.8,
        is_floor=True,
    ),
    Row(
        group="cores",
        key="core cost",
        what="cost of a slice in the core, 1,000 simulated workers",
        unit="of 10 workers",
        target=1.5,
    ),
    Row(
        group="cores",
        key="placement",
        what="placement of 1,000 workers on 200 simulated nodes, in the core",
        unit="ms",
        target=50.0,
    ),
    Row(
        group="flows",
        key="flights",
        what="flights.csv to ldjson (read, 3 operations, write), 2 workers",
        unit="times a plain script",
        target=1.3,
        is_floor=True,
    ),
    Row(
        group="flows",
        key="records",
        what="data_generator into noop, 1,000,000 records in slices of 10,000, 2 workers",
        unit="of 2 bare loops",
        target=0.8,
        is_floor=True,
    ),
    Row(
        group="flows",
        key="killed worker",
        what="worker killed to its slice running elsewhere",
        unit="ms",
        target=300.0,
    ),
)

GROUPS = tuple(dict.fromkeys(row.group for row in ROWS))
Values = Mapping[str, Sequence[float]]
"""What was measured, by key of the row."""


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def table(found: Values) -> str:
    """The rows that were measured, as Markdown."""
    lines = ["| what | figure | least to greatest | target | |", "| --- | --- | --- | --- | --- |"]
    for row in ROWS:
        if not found.get(row.key):
            continue
        one = summary(found[row.key])
        bound = f"{'≥' if row.is_floor else '≤'} {_number(row.target)}"
        cells = (
            row.what,
            f"{_number(one['median'])} {row.unit}",
            f"{_number(one['least'])} to {_number(one['greatest'])}",
            bound,
            "" if row.holds(one["median"]) else "**missed**",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
