"""Places on the earth in the forms that data has them in, and geohashes.

A place is GeoJSON, an object with `lat` and `lon`, an array `[lon, lat]`, text `"lat,lon"`, WKT `POINT (lon
lat)`, or a geohash (https://en.wikipedia.org/wiki/Geohash): letters of five bits each, which halve the
earth by turns from west to east and from south to north.
"""

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tsd.operations.standard.texts import text_of

_BASE = "0123456789bcdefghjkmnpqrstuvwxyz"
_BITS = 5
_LONGEST_HASH = 12
_SPARE_PLACES = 5
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_WKT = re.compile(r"-?[0-9]+\.[0-9]*\s-?[0-9]+\.[0-9]*", re.ASCII)
_LARGEST = 1e21
_SHOWN_CHARS = 80
GEO_TYPES = frozenset(
    {
        "point",
        "multipoint",
        "linestring",
        "multilinestring",
        "polygon",
        "multipolygon",
        "geometrycollection",
    }
)
"""Types of GeoJSON in lower case."""


def coordinate(value: Any) -> float | None:
    """A number, or text that is one; else None."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) and math.isfinite(float(value)) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return float(value)
    return None


def is_geo_json(value: Any, *kinds: str) -> bool:
    """Whether it is GeoJSON: an object with coordinates, of one of the types, or of any."""
    if not isinstance(value, dict) or not isinstance(value.get("coordinates"), list):
        return False
    kind = value.get("type")
    return isinstance(kind, str) and kind.lower() in (kinds or GEO_TYPES)


def is_point(value: Any) -> bool:
    """Whether it is a place, in any of the forms but WKT."""
    if isinstance(value, str):
        if "," in value:
            return len([part for part in value.split(",") if coordinate(part) is not None]) > 1
        return _is_geohash(value)
    if isinstance(value, list):
        return len([part for part in value if coordinate(part) is not None]) > 1
    if not isinstance(value, dict):
        return False
    if is_geo_json(value, "point"):
        pair = value["coordinates"][:2]
    elif "lat" in value and "lon" in value:
        pair = [value["lat"], value["lon"]]
    else:
        pair = [value.get("latitude"), value.get("longitude")]
    return len(pair) == 2 and all(coordinate(part) is not None for part in pair)


def truncated(value: Any, places: int) -> Any:
    """A place with coordinates that are cut off, toward zero.

    Args:
        value: A place in any form, or a single coordinate.
        places: Decimal places that are left.

    Returns:
        It in the same form; text becomes text, an object one with `lat` and `lon` or GeoJSON.

    Raises:
        ValueError: It is no place.
    """

    def cut(part: Any) -> float:
        number = coordinate(part)
        if number is None:
            raise ValueError(f"{_shown(value)} is no place: {_shown(part)} is no coordinate")
        return _cut(number, places)

    if is_geo_json(value, "point"):
        if len(value["coordinates"]) < 2:
            raise ValueError(f"{_shown(value)} is no place: it has no two coordinates")
        lon, lat = value["coordinates"][:2]
        return {"type": "Point", "coordinates": [cut(lon), cut(lat)]}
    if isinstance(value, dict):
        return {"lat": cut(value.get("lat")), "lon": cut(value.get("lon"))}
    if isinstance(value, list):
        return [cut(part) for part in value]
    if coordinate(value) is not None:
        return cut(value)
    if isinstance(value, str):
        return _truncated_text(value, cut)
    raise ValueError(f"{_shown(value)} is no place")


def _truncated_text(text: str, cut: Callable[[Any], float]) -> str:
    if "POINT" in text and (match := _WKT.search(text)):
        lon, lat = match[0].split()
        return f"POINT ({text_of(cut(lon))} {text_of(cut(lat))})"
    if "," in text:
        lat, lon = text.split(",")[:2]
        return f"{text_of(cut(lat))}, {text_of(cut(lon))}"
    if not _is_geohash(text):
        raise ValueError(f"{_shown(text)} is no place: neither lat,lon, nor POINT (lon lat), nor a geohash")
    return geohash(*(cut(part) for part in place_of(text)))


def _cut(number: float, places: int) -> float:
    """The number with so many places, the rest cut off of it as it is written with five more."""
    exact = Decimal(number).quantize(Decimal(1).scaleb(-places - _SPARE_PLACES), ROUND_HALF_UP)
    digits = format(exact, "f")
    return float(digits[: len(digits) - _SPARE_PLACES])


def _is_geohash(text: str) -> bool:
    return bool(text) and all(letter in _BASE for letter in text.lower())


def bounds_of(text: str) -> tuple[float, float, float, float]:
    """South, north, west and east of a geohash."""
    ranges = ([-180.0, 180.0], [-90.0, 90.0])
    is_latitude = False
    for letter in text.lower():
        bits = _BASE.index(letter)
        for shift in range(_BITS - 1, -1, -1):
            bounds = ranges[is_latitude]
            middle = (bounds[0] + bounds[1]) / 2
            bounds[0 if bits >> shift & 1 else 1] = middle
            is_latitude = not is_latitude
    (west, east), (south, north) = ranges
    return south, north, west, east


def place_of(text: str) -> tuple[float, float]:
    """Latitude and longitude of the middle of a geohash, with as many places as its size makes sense of."""
    south, north, west, east = bounds_of(text)
    return _middle(south, north), _middle(west, east)


def _middle(low: float, high: float) -> float:
    places = max(0, math.floor(2 - math.log(high - low) / math.log(10)))
    exact = Decimal((low + high) / 2).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return float(exact)


def geohash(lat: float, lon: float) -> str:
    """The shortest geohash whose middle is the place, else the one of twelve letters."""
    text = ""
    for length in range(1, _LONGEST_HASH + 1):
        text = _encoded(lat, lon, length)
        if place_of(text) == (lat, lon):
            break
    return text


def _encoded(lat: float, lon: float, length: int) -> str:
    ranges = ([-180.0, 180.0], [-90.0, 90.0])
    is_latitude = False
    letters = []
    for _ in range(length):
        bits = 0
        for _ in range(_BITS):
            bounds = ranges[is_latitude]
            middle = (bounds[0] + bounds[1]) / 2
            is_upper = (lat if is_latitude else lon) >= middle
            bounds[0 if is_upper else 1] = middle
            bits = bits << 1 | is_upper
            is_latitude = not is_latitude
        letters.append(_BASE[bits])
    return "".join(letters)


def _shown(value: Any) -> str:
    text = text_of(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
