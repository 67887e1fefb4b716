"""One spelling for every path: `/V1/Jobs/<id>/_Stop/` and `/jobs/<id>/_stop` are the same."""

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
