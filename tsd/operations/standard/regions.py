"""Facts of countries and languages that validators need: codes, postal codes, calling codes, letters."""

import re
from collections.abc import Mapping
from functools import cache

_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
    "BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
    "ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
    "HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
    "LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
    "NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
    "SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
    "UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
COUNTRIES = frozenset(_COUNTRIES.split())
"""Two letters of each country, ISO 3166-1."""

_CALLING_CODES = (
    "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 "
    "66 81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 "
    "231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 248 249 250 251 252 253 254 255 256 "
    "257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 "
    "358 359 370 371 372 373 374 375 376 377 378 380 381 382 383 385 386 387 389 420 421 423 500 501 502 "
    "503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 "
    "679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878 880 881 882 "
    "883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 "
    "996 998"
)
CALLING_CODES = frozenset(_CALLING_CODES.split())
"""Codes of countries that phone numbers begin with, ITU E.164."""

_POSTAL_CODES = (
    "AD:AD999 AT:9999 AU:9999 BE:9999 BG:9999 BR:99999-999|99999999 CA:A9A_9A9|A9A9A9|A9A-9A9 CH:9999 "
    "CZ:999_99|99999 DE:99999 DK:9999 DZ:99999 EE:99999 ES:99999 FI:99999 FR:99999|99_999 "
    "GB:A9_9AA|A99_9AA|AA9_9AA|AA99_9AA|A9A_9AA|AA9A_9AA|A99AA|A999AA|AA99AA|AA999AA|A9A9AA|AA9A9AA "
    "GR:999_99|99999 HR:99999 HU:9999 ID:99999 IE:*99_****|*9*_****|*99****|*9***** IL:99999|9999999 "
    "IN:999999|999_999 IS:999 IT:99999 JP:999-9999 KE:99999 LI:9999 LT:LT-99999|99999 LU:9999 LV:LV-9999 "
    "MT:AAA_9999|AAA9999|AAA_99|AAA99 MX:99999 NL:9999_AA|9999AA NO:9999 NZ:9999 PL:99-999 "
    "PR:99999|99999-9999 PT:9999-999 RO:999999 RU:999999 SA:99999|99999-9999 SE:999_99|99999 SI:9999 "
    "SK:999_99|99999 TN:9999 TW:999|99999|999999 UA:99999 US:99999|99999-9999 ZA:9999 ZM:99999"
)
_FORMS: Mapping[str, str] = dict(entry.split(":") for entry in _POSTAL_CODES.split())
"""Forms of postal codes: 9 is a digit, A a letter, * either, _ a blank; all else stands for itself."""
_FIRST_DIGITS: Mapping[str, str] = {
    "ES": r"(?:0[1-9]|[1-4]\d|5[0-2])",
    "FR": r"(?!00)\d\d",
    "IN": "[1-9]",
    "NL": "[1-9]",
}
"""What postal codes of a country begin with, where not every digit will do."""
_LETTERS = {"9": "[0-9]", "A": "[A-Z]", "*": "[A-Z0-9]", "_": " "}


def postal_places() -> tuple[str, ...]:
    """The countries whose postal codes are known."""
    return tuple(_FORMS)


@cache
def _postal_pattern(place: str) -> "re.Pattern[str]":
    fixed = {"AD": "AD", "LT": "LT-", "LV": "LV-"}.get(place, "")
    forms = []
    for form in _FORMS[place].split("|"):
        prefix = fixed if form.startswith(fixed) else ""
        forms.append(
            re.escape(prefix)
            + "".join(_LETTERS.get(letter, re.escape(letter)) for letter in form[len(prefix) :])
        )
    ahead = f"(?={_FIRST_DIGITS[place]})" if place in _FIRST_DIGITS else ""
    return re.compile(f"{ahead}(?:{'|'.join(forms)})", re.IGNORECASE | re.ASCII)


def matches_postal_code(text: str, place: str) -> bool:
    """Whether text has the form of a postal code of a country, or with `any` of some country."""
    places = _FORMS if place == "any" else (place,)
    return any(_postal_pattern(each).fullmatch(text) for each in places)


_LATIN = "abcdefghijklmnopqrstuvwxyz"
_ARABIC = "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيًٌٍَُِّْٰ"
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
ALPHABETS: Mapping[str, str] = {
    "en": _LATIN,
    "ar": _ARABIC,
    "az": _LATIN + "əğıöüşç",
    "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "bn": "".join(map(chr, range(0x0980, 0x09FF))),
    "cs": _LATIN + "áčďéěíňóřšťúůýž",
    "da": _LATIN + "æøå",
    "de": _LATIN + "äöüß",
    "el": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώϊϋΐΰς",
    "eo": "abcĉdefgĝhĥijĵklmnoprsŝtuŭvz",
    "es": _LATIN + "áéíñóúü",
    "fa": "ابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهیآءأؤئة",
    "fi": _LATIN + "åäö",
    "fr": _LATIN + "àâæçéèêëïîôœùûüÿ",
    "he": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "hi": "".join(map(chr, range(0x0900, 0x0980))),
    "hu": _LATIN + "áéíóöőúüű",
    "it": _LATIN + "àéèìîóòù",
    "ja": "".join(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x3005, 0x3006, 0x30FC)))
    + "".join(map(chr, range(0x4E00, 0x9FA6))),
    "kk": _CYRILLIC + "ёәғқңөұүһі",
    "ko": "".join(map(chr, (*range(0x3131, 0x318F), *range(0xAC00, 0xD7A4)))),
    "ku": "ئابپتجچحخدرڕزژسشعغفڤقکگلڵمنوۆھەیێيطؤثآإأكضصةظذ",
    "nb": _LATIN + "æøå",
    "nl": _LATIN + "áéëïóöüú",
    "nn": _LATIN + "æøå",
    "pl": _LATIN + "ąćęłńóśźż",
    "pt": _LATIN + "ãáàâäçéêëíïõóôöúü",
    "ru": _CYRILLIC + "ё",
    "si": "".join(map(chr, range(0x0D80, 0x0E00))),
    "sk": _LATIN + "áäčďéíĺľňóôŕšťúýž",
    "sl": _LATIN + "čćđšž",
    "sr": "абвгдђежзијклљмнњопрстћуфхцчџш",
    "sr-RS@latin": _LATIN + "čćžšđ",
    "sv": _LATIN + "åäö",
    "th": "".join(map(chr, range(0x0E01, 0x0E5A))),
    "tr": _LATIN + "çğıöşü",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "vi": _LATIN + "àáạảãâầấậẩẫăằắặẳẵèéẹẻẽêềếệểễìíịỉĩòóọỏõôồốộổỗơờớợởỡùúụủũưừứựửữỳýỵỷỹđ",
}
"""Letters of languages in lower case; a locale such as `pl-PL` is that of its language."""
