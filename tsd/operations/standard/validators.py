"""Tests of single values by name: the validation methods of Teraslice's FieldValidator.

Each takes a value and arguments. All but a few look into arrays: of an array every element must pass, null
aside, and an array of nothing else does not. What has no right type does not pass, so `"1"` is no number.
The methods are those that data-mate documents; where a whole library stands behind one there (phone
numbers, postal codes, letters of languages), the tables here are shorter, and docs/operations.md says so.
"""

import base64
import binascii
import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from tsd.operations import formats
from tsd.operations.standard import geo
from tsd.operations.standard.regions import (
    ALPHABETS,
    CALLING_CODES,
    COUNTRIES,
    matches_postal_code,
    postal_places,
)
from tsd.operations.standard.texts import text_of
from tsd.operations.standard.values import same

Test = Callable[[Any], bool]
"""Whether a value passes."""
_Arguments = Mapping[str, Any]
_Maker = Callable[[_Arguments], Test]
"""Makes the test of arguments; raises ValueError for those that can not be."""


def _each(test: Test) -> Test:
    """A test that also takes an array, all of whose elements must pass; null is left out."""

    def lifted(value: Any) -> bool:
        if value is None:
            return False
        if isinstance(value, list):
            found = [each for each in value if each is not None]
            return bool(found) and all(map(test, found))
        return test(value)

    return lifted


def _plain(test: Test) -> _Maker:
    """A validator without arguments."""
    return lambda _args: _each(test)


def _text(test: Callable[[str], bool]) -> _Maker:
    """A validator of text without arguments."""
    return lambda _args: _each(lambda value: isinstance(value, str) and test(value))


def _like(pattern: str, flags: int = 0) -> _Maker:
    """A validator of text that a pattern matches as a whole."""
    match = re.compile(pattern, flags | re.ASCII).fullmatch
    return _text(lambda text: match(text) is not None)


def _number_of(args: _Arguments, name: str) -> float | None:
    value = args.get(name)
    if value is None:
        return None
    try:
        return formats.number(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a number") from error


# --- types ----------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return value.__class__ is int or (value.__class__ is float and math.isfinite(value))


def _is_integer(value: Any) -> bool:
    if not _is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return False
    return bool(abs(value) <= formats.SAFE_MAX)


_BOOLEAN_WORDS = frozenset({"", "0", "1", "false", "no", "true", "yes"})


def _is_boolean_like(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return value.strip().lower() in _BOOLEAN_WORDS
    return _is_number(value) and value in (0, 1)


def _boolean_like(_args: _Arguments) -> Test:
    return lambda value: (
        all(map(_is_boolean_like, value)) if isinstance(value, list) else _is_boolean_like(value)
    )


def _empty(args: _Arguments) -> Test:
    ignores_blanks = bool(args.get("ignoreWhitespace"))

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return not (value.strip() if ignores_blanks else value)
        # as Teraslice: numbers and booleans hold nothing, so they are empty
        return not value if isinstance(value, list | dict) else True

    return test


def _guard(value: Any) -> bool:
    if value is None:
        raise ValueError("the value must not be null")
    return True


# --- numbers and texts ----------------------------------------------------------------------------


def _in_number_range(args: _Arguments) -> Test:
    low, high = _number_of(args, "min"), _number_of(args, "max")
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    if formats.boolean(args.get("inclusive", False)):
        return _each(lambda value: _is_number(value) and least <= value <= most)
    return _each(lambda value: _is_number(value) and least < value < most)


def _length(args: _Arguments) -> Test:
    size = _number_of(args, "size")
    size = _number_of(args, "length") if size is None else size
    low, high = _number_of(args, "min"), _number_of(args, "max")
    if size is None and low is None and high is None:
        raise ValueError("needs size, min or max")
    if size is not None:
        return _each(lambda value: isinstance(value, str) and len(value) == size)
    least, most = low or 0, math.inf if high is None else high
    return _each(lambda value: isinstance(value, str) and least <= len(value) <= most)


def _wanted(args: _Arguments) -> Any:
    if args.get("value") is None:
        raise ValueError("needs value")
    return args["value"]


def _contains(args: _Arguments) -> Test:
    wanted = _wanted(args)

    def holds(value: Any) -> bool:
        if isinstance(value, str):
            return text_of(wanted) in value
        return isinstance(value, list | dict) and any(same(each, wanted) for each in value)

    return _each(holds)


def _equals(args: _Arguments) -> Test:
    wanted = _wanted(args)
    lifted = _each(lambda value: same(value, wanted))
    return lambda value: same(value, wanted) or lifted(value)


def _letters(extra: str) -> _Maker:
    def make(args: _Arguments) -> Test:
        locale = args.get("locale") or "en-US"
        letters = ALPHABETS.get(locale if locale in ALPHABETS else str(locale).split("-", maxsplit=1)[0])
        if letters is None:
            raise ValueError(f"there is no locale {locale!r}; there are {', '.join(sorted(ALPHABETS))}")
        allowed = frozenset(letters + letters.upper() + letters.lower() + extra)
        return _each(lambda value: isinstance(value, str) and bool(value) and allowed.issuperset(value))

    return make


_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def _is_base64(text: str) -> bool:
    try:
        return (
            bool(_BASE64.fullmatch(text))
            and base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
        )
    except binascii.Error:
        return False


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_no_constant), dict | list)
    except (ValueError, RecursionError):
        return False


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# --- dates ----------------------------------------------------------------------------------------

_ISO = re.compile(
    r"[+-]?\d{4}(?!\d{2}\b)(?:(-?)(?:(?:0[1-9]|1[0-2])(?:\1(?:[12]\d|0[1-9]|3[01]))?|W(?:[0-4]\d|5[0-3])(?:-?[1-7])?"
    r"|(?:00[1-9]|0[1-9]\d|[12]\d{2}|3(?:[0-5]\d|6[0-6])))"
    r"(?:[T\s](?:(?:[01]\d|2[0-3])(?::?[0-5]\d)?|24:?00)(?:[.,]\d+(?!:))?(?::?[0-5]\d(?:[.,]\d+)?)?"
    r"(?:[zZ]|[+-](?:[01]\d|2[0-3]):?(?:[0-5]\d)?)?)?)?",
    re.ASCII,
)
_RFC3339 = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_WRITTEN_DATES = (
    "%m/%d/%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y %H:%M:%S",
    "%B %d, %Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a, %d %b %Y %H:%M:%S %z",
    "%Y-%m",
    "%Y",
)


def _is_date(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip()
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return any(_is_written(text, form) for form in _WRITTEN_DATES)
        return not text.isdecimal()
    return _is_number(value) and value == int(value)


def _is_written(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True


# --- the net --------------------------------------------------------------------------------------

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 "
    "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/8 240.0.0.0/4 ::/128 ::1/128 64:ff9b::/96 "
    "64:ff9b:1::/48 100::/64 fc00::/7 fe80::/10 ff00::/8 2001::/23 2001:db8::/32 2002::/16 "
    "2620:4f:8000::/48"
)
_NOT_ROUTED: tuple[_Network, ...] = tuple(map(ipaddress.ip_network, _SPECIAL.split()))
"""Networks that no router of the internet forwards, of the registries of special addresses (RFC 6890)."""
_MACS = {
    "colon": r"[0-9a-f]{2}(:[0-9a-f]{2}){5}",
    "space": r"[0-9a-f]{2}(\s[0-9a-f]{2}){5}",
    "dash": r"[0-9a-f]{2}(-[0-9a-f]{2}){5}",
    "dot": r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}",
    "none": r"[0-9a-f]{12}",
}


def _address(value: Any) -> _Address | None:
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_routable(address: _Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    found = mapped or address
    return not any(found in network for network in _NOT_ROUTED)


def _routable(wanted: bool) -> _Maker:
    def test(value: Any) -> bool:
        address = _address(value)
        return address is not None and _is_routable(address) is wanted

    return _plain(test)


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return re.fullmatch(r"[^/]+/\d+", text, re.ASCII) is not None


def ip_test(text: Any) -> Test:
    """Whether a value is an address in a network.

    Raises:
        ValueError: The text is no network.
    """
    network = ipaddress.ip_network(formats.required_string(text), strict=False)

    def test(value: Any) -> bool:
        address = _address(value)
        return address is not None and address in network

    return test


def _in_ip_range(args: _Arguments) -> Test:
    if args.get("cidr") is not None:
        return _each(ip_test(args["cidr"]))
    ends = {}
    for name in ("min", "max"):
        if args.get(name) is not None:
            ends[name] = _address(args[name])
            if ends[name] is None:
                raise ValueError(f"{name} must be an address")
    versions = {end.version for end in ends.values() if end is not None}
    if len(versions) > 1:
        raise ValueError("min and max must be addresses of one kind")
    low, high = ends.get("min"), ends.get("max")
    if low is not None and high is not None and int(low) > int(high):
        raise ValueError("min must not be above max")

    def test(value: Any) -> bool:
        address = _address(value)
        if address is None or (versions and address.version not in versions):
            return False
        return (low is None or int(low) <= int(address)) and (high is None or int(address) <= int(high))

    return _each(test)


def _mac(args: _Arguments) -> Test:
    wanted = args.get("delimiter") or "any"
    names = wanted if isinstance(wanted, list) else [wanted]
    odd = [name for name in names if name != "any" and name not in _MACS]
    if odd or not names:
        raise ValueError(f"delimiter must be of {', '.join(_MACS)}, any")
    chosen = _MACS if "any" in names else {name: _MACS[name] for name in names}
    match = re.compile("|".join(chosen.values()), re.IGNORECASE | re.ASCII).fullmatch
    return _each(lambda value: isinstance(value, str) and match(value) is not None)


_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:(?://(?P<host>[^/?#]*)(?P<path>/[^?#]*)?|(?P<rest>(?!//)[^?#]+))(?:\?[^#]*)?(?:#.*)?",
    re.ASCII,
)
_URI_LETTERS = re.compile(r"(?:[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~-]|%[0-9A-Fa-f]{2})+", re.ASCII)


def _is_uri(text: str) -> bool:
    match = _URI.fullmatch(text)
    return (
        match is not None
        and _URI_LETTERS.fullmatch(text) is not None
        and bool(match["host"] or match["path"] or match["rest"])
    )


def _fqdn(args: _Arguments) -> Test:
    needs_domain = formats.boolean(args.get("requireTld", args.get("require_tld", True)))
    extra = "_" if formats.boolean(args.get("allowUnderscores", args.get("allow_underscores", False))) else ""
    may_end = formats.boolean(args.get("allowTrailingDot", args.get("allow_trailing_dot", False)))
    label = re.compile(rf"(?!-)[a-z0-9\u00a1-\uff00{extra}-]{{1,63}}(?<!-)", re.IGNORECASE)

    def test(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        labels = (value[:-1] if may_end and value.endswith(".") else value).split(".")
        last = labels[-1]
        if needs_domain and (
            len(labels) < 2 or not re.fullmatch(r"[^\W\d_]{2,}|xn--?[a-z0-9-]{2,}", last, re.IGNORECASE)
        ):
            return False
        return not last.isdecimal() and all(map(label.fullmatch, labels))

    return _each(test)


_HASH_CHARS = {
    "md5": 32, "md4": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128, "ripemd128": 32,
    "ripemd160": 40, "tiger128": 32, "tiger160": 40, "tiger192": 48, "crc32": 8, "crc32b": 8,
}  # fmt: skip


def _hash(args: _Arguments) -> Test:
    algorithm = args.get("algo")
    if algorithm not in _HASH_CHARS:
        raise ValueError(f"needs algo, one of {', '.join(_HASH_CHARS)}")
    match = re.compile(rf"[a-fA-F0-9]{{{_HASH_CHARS[algorithm]}}}").fullmatch
    return _each(lambda value: isinstance(value, str) and match(value) is not None)


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NIL, _MAX = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
_UUID_VERSIONS = "12345678"


def _uuid(args: _Arguments) -> Test:
    version = str(args.get("version") or "all")
    if version not in (*_UUID_VERSIONS, "nil", "max", "loose", "all"):
        raise ValueError(f"version must be of {', '.join(_UUID_VERSIONS)}, nil, max, loose, all")

    def test(value: Any) -> bool:
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            return False
        text = value.lower()
        if (
            version == "loose"
            or (text == _NIL and version in ("nil", "all"))
            or (text == _MAX and version in ("max", "all"))
        ):
            return True
        digits = _UUID_VERSIONS if version == "all" else version
        return text[14] in digits and text[19] in "89ab"

    return _each(test)


# --- codes ----------------------------------------------------------------------------------------

_ISSN_DIGITS = 8
_ISSN_BASE = 11


def _issn(args: _Arguments) -> Test:
    needs_hyphen = formats.boolean(args.get("requireHyphen", args.get("require_hyphen", False)))
    is_strict = formats.boolean(args.get("caseSensitive", args.get("case_sensitive", False)))
    match = re.compile(
        rf"[0-9]{{4}}-{'' if needs_hyphen else '?'}[0-9]{{3}}[0-9{'X' if is_strict else 'Xx'}]"
    ).fullmatch

    def test(value: Any) -> bool:
        if not isinstance(value, str) or not match(value):
            return False
        digits = [10 if digit in "Xx" else int(digit) for digit in value.replace("-", "")]
        return sum(digit * (_ISSN_DIGITS - place) for place, digit in enumerate(digits)) % _ISSN_BASE == 0

    return _each(test)


_PHONE = re.compile(r"\+?[0-9][0-9 ().-]*", re.ASCII)
_PHONE_DIGITS = range(8, 16)
_NORTH_AMERICA = re.compile(r"1[2-9][0-9]{2}[2-9][0-9]{6}")


def _is_phone(value: Any) -> bool:
    text = text_of(value).strip() if isinstance(value, str) or _is_number(value) else ""
    if not _PHONE.fullmatch(text):
        return False
    digits = re.sub("[^0-9]", "", text)
    if digits.startswith("1"):
        return _NORTH_AMERICA.fullmatch(digits) is not None
    return len(digits) in _PHONE_DIGITS and any(digits[:size] in CALLING_CODES for size in (1, 2, 3))


def _postal(args: _Arguments) -> Test:
    place = args.get("locale") or "any"
    if place != "any" and place not in postal_places():
        raise ValueError(f"there is no locale {place!r}; there are any, {', '.join(postal_places())}")
    return _each(lambda value: isinstance(value, str) and matches_postal_code(value, place))


_MIME = (
    r"(?:application|audio|chemical|font|image|message|model|multipart|text|video)/[a-zA-Z0-9.+_-]{1,100}"
    r"(?:\s?;\s?[a-zA-Z0-9-]+=(?:\"[^\"]*\"|[^\s;\"]+))*"
)


# --- arrays ---------------------------------------------------------------------------------------


def _over(combine: Callable[[Any], bool]) -> _Maker:
    def make(args: _Arguments) -> Test:
        name = args.get("fn")
        if not isinstance(name, str) or name not in VALIDATORS:
            raise ValueError("needs fn, the name of a validation method")
        inner = make_validator(name, args.get("options"))
        return lambda value: isinstance(value, list) and combine(inner(each) for each in value)

    return make


VALIDATORS: Mapping[str, _Maker] = {
    "contains": _contains,
    "equals": _equals,
    "every": _over(all),
    "exists": lambda _args: lambda value: value is not None,
    "guard": lambda _args: _guard,
    "inIPRange": _in_ip_range,
    "inNumberRange": _in_number_range,
    "isASCII": _text(str.isascii),
    "isAlpha": _letters(""),
    "isAlphanumeric": _letters("0123456789"),
    "isArray": lambda _args: lambda value: isinstance(value, list),
    "isBase64": _text(_is_base64),
    "isBoolean": _plain(lambda value: isinstance(value, bool)),
    "isBooleanLike": _boolean_like,
    "isCIDR": _text(_is_cidr),
    "isCountryCode": _text(lambda text: text.upper() in COUNTRIES),
    "isEmail": _like(r"[!-@A-Z_]{1,64}@(?:[A-Z0-9-]{1,63}\.){1,8}[A-Z]{2,63}", re.IGNORECASE),
    "isEmpty": _empty,
    "isFQDN": _fqdn,
    "isGeoJSON": _plain(geo.is_geo_json),
    "isGeoPoint": lambda _args: _geo_point,
    "isGeoShapeMultiPolygon": _plain(lambda value: geo.is_geo_json(value, "multipolygon")),
    "isGeoShapePoint": _plain(lambda value: geo.is_geo_json(value, "point")),
    "isGeoShapePolygon": _plain(lambda value: geo.is_geo_json(value, "polygon")),
    "isHash": _hash,
    "isIP": _plain(lambda value: _address(value) is not None),
    "isISDN": _plain(_is_phone),
    "isISO8601": _text(lambda text: _ISO.fullmatch(text) is not None),
    "isISSN": _issn,
    "isInteger": _plain(_is_integer),
    "isJSON": _text(_is_json),
    "isLength": _length,
    "isMACAddress": _mac,
    "isMIMEType": _like(_MIME),
    "isNonRoutableIP": _routable(False),
    "isNumber": _plain(_is_number),
    "isPostalCode": _postal,
    "isRFC3339": _text(lambda text: _RFC3339.fullmatch(text) is not None),
    "isRoutableIP": _routable(True),
    "isString": _plain(lambda value: isinstance(value, str)),
    "isURL": _text(_is_uri),
    "isUUID": _uuid,
    "isValidDate": _plain(_is_date),
    "some": _over(any),
}
"""What makes the test of each validation method."""


def _geo_point(value: Any) -> bool:
    if isinstance(value, list) and not (len(value) == 2 and all(map(_is_number, value))):
        return _each(geo.is_point)(value)
    return geo.is_point(value)


def validator_name(value: Any) -> str | None:
    """A converter to the name of a validator, or null."""
    return None if value is None else formats.one_of(VALIDATORS)(value)


def make_validator(name: str, args: Any) -> Test:
    """The test of a validation method.

    Args:
        name: Of `VALIDATORS`.
        args: An object of arguments, or null; a lone value is taken for the argument `value`.

    Raises:
        ValueError: The arguments can not be.
    """
    if args is not None and not isinstance(args, Mapping):
        if name not in ("contains", "equals"):
            raise ValueError(f"{name} takes an object of arguments")
        args = {"value": args}
    try:
        return VALIDATORS[name](args or {})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
