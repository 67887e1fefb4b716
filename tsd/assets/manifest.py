"""`asset.json`: the manifest at the top of a bundle."""

import json
import re
from typing import Any

import attrs
from packaging.requirements import InvalidRequirement, Requirement

from tsd.assets.host import python_numbers
from tsd.assets.versions import clean_version, precedence
from tsd.errors import AssetInvalid

FILE_NAME = "asset.json"
SIZE_MAX = 1024 * 1024
"""Of the file; it is kept in memory and in the store."""
NAME_LENGTH_MAX = 200

_NAME = re.compile(r"[^\s:@/\\*\x00-\x1f\x7f]+")
"""A job writes `op@name:version`, a path `/assets/<name>`."""
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_TARGET = re.compile(rf"{_MODULE.pattern}:[^\W\d]\w*")


@attrs.frozen(kw_only=True)
class Manifest:
    """What it says; a restriction that is None holds everywhere.

    Attributes:
        modules: Where operations are looked for; empty when it does not say.
        document: All of it, also what nobody here reads.
    """

    name: str
    version: str
    description: str | None
    platform: str | None
    arch: str | None
    node_version: int | None
    python_version: str | None
    modules: tuple[str, ...]
    document: dict[str, Any]

    def text(self) -> str:
        """The whole of it as JSON text."""
        return json.dumps(self.document, separators=(",", ":"))

    def requirements(self) -> tuple[Requirement, ...]:
        """What the bundle needs besides its wheels' own needs, `requirements`. For bundles of Python only.

        Raises:
            AssetInvalid: It is no list of requirements.
        """
        value = self.document.get("requirements") or []
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise AssetInvalid(f'{FILE_NAME}: requirements must be a list of texts as in "name>=1.2"')
        try:
            return tuple(Requirement(text) for text in value)
        except InvalidRequirement as error:
            raise AssetInvalid(f"{FILE_NAME}: requirements: {error}") from error

    def operations(self) -> dict[str, str] | None:
        """The operations that it lists, name to `module:Class`; None without a list. As above.

        Raises:
            AssetInvalid: It is no such list.
        """
        value = self.document.get("operations")
        if value is None or value is False:
            return None
        if not isinstance(value, dict) or not all(
            isinstance(target, str) and _TARGET.fullmatch(target) for target in value.values()
        ):
            raise AssetInvalid(f'{FILE_NAME}: operations must map each name to a text "module:Class"')
        return dict(value)

    def check_release(self, *, tsd: str, teraslice: str) -> None:
        """Refuse a bundle for a later release.

        Args:
            tsd: The version that runs here.
            teraslice: The one whose jobs and API these are.

        Raises:
            AssetInvalid: It needs a later one.
        """
        for key, running in (("minimum_tsd_version", tsd), ("minimum_teraslice_version", teraslice)):
            wanted = self.document.get(key)
            if not wanted:
                continue
            product = key.split("_")[1]
            if precedence(_version(wanted)) > precedence(running):
                raise AssetInvalid(f"Asset requires {product} version {wanted} or greater.")


def read_manifest(text: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        AssetInvalid: It is no JSON object, or a field of it is wrong; the message says which.
    """
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise AssetInvalid(
            f"Failure parsing {FILE_NAME}, please ensure that's it formatted correctly: {error}"
        ) from error
    if not isinstance(document, dict):
        raise AssetInvalid(f"Failure parsing {FILE_NAME}, please ensure that's it formatted correctly")
    try:
        return Manifest(
            name=_name(document.get("name")),
            version=_version(document.get("version")),
            description=_text(document, "description"),
            platform=_text(document, "platform"),
            arch=_text(document, "arch"),
            node_version=_node_version(document.get("node_version")),
            python_version=_python_version(document.get("python_version")),
            modules=_modules(document.get("module")),
            document=document,
        )
    except ValueError as error:
        raise AssetInvalid(f"{FILE_NAME}: {error}") from error


def _name(value: Any) -> str:
    if not value:
        raise AssetInvalid("Missing name")
    if not isinstance(value, str) or len(value) > NAME_LENGTH_MAX or _NAME.fullmatch(value) is None:
        raise AssetInvalid(f'Invalid name "{str(value)[:80]}": a text without blanks, ":", "@", "/" and "*"')
    return value


def _version(value: Any) -> str:
    try:
        return clean_version(value if isinstance(value, str) else "")
    except ValueError:
        shown = "" if value is None else str(value)[:80]
        raise AssetInvalid(f'Invalid version "{shown}", it has three numbers as in 1.2.3') from None


def _text(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if not value:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text")  # noqa: TRY004 - a fault of the document
    return value


def _node_version(value: Any) -> int | None:
    if not value:
        return None
    found = re.match(r"\s*[v=^~>]*\s*(\d{1,9})(?![\d])", str(value))
    if isinstance(value, (dict, list, bool)) or found is None:
        raise ValueError(f'Invalid node_version "{str(value)[:40]}"')
    return int(found[1])


def _python_version(value: Any) -> str | None:
    if not value:
        return None
    if not isinstance(value, str):
        # As a number 3.10 would be 3.1.
        raise ValueError('python_version must be a text, as in "3.11"')  # noqa: TRY004 - as above
    python_numbers(value)
    return value


def _modules(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and _MODULE.fullmatch(name) for name in names):
        raise ValueError("module must be the name of a module, or a list of such names")
    return tuple(dict.fromkeys(names))
