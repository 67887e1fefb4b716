"""One spelling for every path: `/V1/Jobs/<id>/_Stop/` and `/jobs/<id>/_stop` are the same."""

from collections.abc import Iterable

from tsd.shown import closest

_ID_AT = {"jobs": 1, "ex": 1}
_HAS_SLICERS = {"cluster", "txt"}


def canonical_path(path: str) -> str:
    """The path as the routes know it: without `/v1`, lower case but for ids and names, no slash at the end.

    Anything that has no such form, such as a path with an empty segment, is returned as it is.
    """
    segments = path.removeprefix("/").split("/")
    if segments[-1] == "":
        segments.pop()
    if segments and segments[0].lower() == "v1":
        segments.pop(0)
    if not all(segments):
        return path
    segments = _lower_words(segments)
    if len(segments) == 3 and segments[0] in _ID_AT and segments[2] == "slicer":
        segments[2] = "controller"
    if len(segments) == 2 and segments[0] in _HAS_SLICERS and segments[1] == "slicers":
        segments[1] = "controllers"
    return "/" + "/".join(segments)


def _lower_words(segments: list[str]) -> list[str]:
    """Lower-case the words of the API; keep the case of ids and of the names of bundles."""
    words = [segment.lower() for segment in segments]
    if not words:
        return words
    if words[0] == "assets":
        return [words[0], *segments[1:]]
    if words[:2] == ["txt", "assets"]:
        return [*words[:2], *segments[2:]]
    kept = _ID_AT.get(words[0])
    if kept is not None and len(words) > kept and words[:2] != ["ex", "errors"]:
        words[kept] = segments[kept]
    return words


def verb_meant(path: str, known: Iterable[str]) -> str:
    """`; did you mean /jobs/<id>/_stop?` for a path whose verb is misspelt or has no underscore; else empty.

    Args:
        path: In canonical form, and unknown.
        known: The paths that there are, as they are declared.
    """
    *before, last = path.removeprefix("/").split("/")
    if not before or not all([*before, last]):
        return ""
    declared = [each.removeprefix("/").split("/") for each in known]
    verbs = [
        each[-1]
        for each in declared
        if len(each) == len(before) + 1 and each[0] == before[0] and each[-1].startswith("_")
    ]
    verb = closest(last, verbs, cutoff=0.8)
    return "" if verb is None else f"; did you mean /{'/'.join([*before, verb])}?"
