"""Finding out which operations a bundle has, by importing it in a child."""

import json

import attrs

from tsd.assets.folders import AssetFolders
from tsd.errors import AssetInvalid
from tsd.master.checkchild import Inspection
from tsd.master.childprocess import WITHIN_S, ask_child


@attrs.frozen(order=True)
class Offer:
    """An operation or API of a bundle; `kind` is `reader`, `processor`, `api` or `observer`."""

    name: str
    kind: str


async def inspect(folders: AssetFolders, asset_id: str, *, within_s: int = WITHIN_S) -> tuple[Offer, ...]:
    """Import an unpacked bundle in a child, and compare what it has with what it lists.

    Args:
        folders: Where it is unpacked.
        asset_id: The bundle.
        within_s: How long its code may take.

    Returns:
        What it has, by name.

    Raises:
        AssetInvalid: It can not be imported, or has not what it lists; the message has file and line.
    """
    question = Inspection(within_s=within_s, root=str(folders.root), asset_id=asset_id)
    child = await ask_child(question.encode(), within_s)
    try:
        answer = json.loads(child.last_line)
    except ValueError:
        answer = None
    match answer:
        case {"operations": list(found)}:
            return tuple(sorted(Offer(str(name), str(kind)) for name, kind in found))
        case {"unloadable": str(reason)}:
            raise AssetInvalid(reason)
    raise AssetInvalid(child.failure("the bundle was checked", within_s=within_s, root=folders.root))
