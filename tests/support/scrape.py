"""What `/metrics` of a master says."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[Any, ...]
"""The name and the sorted labels, but for the two that all have."""


def series(name: str, **labels: str) -> Series:
    return (name, *sorted(labels.items()))


def values_of(text: str) -> dict[Series, float]:
    """Every series of the text, which the parser has to be able to read, each once."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key not in {"name", "url"}}
            key = series(sample.name, **labels)
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def fallen(before: dict[Series, float], after: dict[Series, float]) -> list[Series]:
    """Counters, those of histograms too, that are lower than they were, or gone."""
    kinds = ("_total", "_bucket", "_count", "_sum")
    counters = [key for key in before if key[0].startswith("tsd_") and key[0].endswith(kinds)]
    return [key for key in counters if after.get(key, -1.0) < before[key]]
