"""What became of a slice."""

import attrs

from tsd.operations.record import Record


@attrs.frozen(kw_only=True)
class Analytics:
    """What each operation of one slice did; -1 where it did not run.

    Attributes:
        time: Milliseconds.
        size: Records that left it.
        memory: Always 0 where it ran: a true measure would cost more than most operations.
    """

    time: list[float]
    size: list[int]
    memory: list[int]

    @classmethod
    def blank(cls, count: int) -> "Analytics":
        """Nothing has run yet."""
        return cls(time=[-1] * count, size=[-1] * count, memory=[-1] * count)

    def note(self, index: int, *, time_ms: float, size: int) -> None:
        """Take in that an operation ran; a retry overwrites."""
        self.time[index] = round(time_ms, 3)
        self.size[index] = size
        self.memory[index] = 0

    def plus(self, other: "Analytics") -> "Analytics":
        """The sums, with what did not run counted as 0."""
        return Analytics(
            time=[round(max(a, 0) + max(b, 0), 3) for a, b in zip(self.time, other.time, strict=True)],
            size=[max(a, 0) + max(b, 0) for a, b in zip(self.size, other.size, strict=True)],
            memory=[max(a, 0) + max(b, 0) for a, b in zip(self.memory, other.memory, strict=True)],
        )


@attrs.frozen(kw_only=True)
class SliceOutcome:
    """What became of a slice.

    Attributes:
        state: `completed` or `error`.
        retry_count: Attempts beyond the first.
        error: What happened (`tsd.error_texts.error_text`), when the state is `error`.
        is_fatal: The worker can not go on.
        analytics: None when the job wants none, or after an error.
        letters: Its dead letters, encoded (`tsd.core.letters`); None when it has none.
        records: What came out at the end of the chain, only when the pipeline was told to keep it.
    """

    state: str
    retry_count: int = 0
    error: str | None = None
    is_fatal: bool = False
    analytics: Analytics | None = None
    letters: list[bytes] | None = None
    records: list[Record] | None = None
