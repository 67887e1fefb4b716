"""Bundles in the store: their records. Their zips are files beside the database (`tsd.master.bundles`)."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import attrs
from sqlalchemy import Connection, RowMapping, Select, delete, insert, literal_column, select

from tsd.core.assets import AssetRecord
from tsd.errors import Conflict, NotFound
from tsd.store.documents import Document, decode, shown_time
from tsd.store.fields import ASSET_FIELDS, order_by
from tsd.store.listing import Page, cut, fetch
from tsd.store.schema import assets, executions, is_active, jobs, unended
from tsd.store.sqlite import json_field, like

RESTRICTIONS = ("platform", "arch", "node_version", "python_version")
Resolve = Callable[[str, Collection[AssetRecord]], str | None]
"""Which of some bundles an identifier means: its id, None when it means none of them."""
_SHOWN = ("name", "version", "description", *RESTRICTIONS)


def nothing(_identifier: str, _candidates: Collection[AssetRecord]) -> None:
    """An identifier that is no id means nothing."""


@attrs.frozen(kw_only=True)
class CreateAsset:
    """Store the record of a bundle whose zip is in its place."""

    record: AssetRecord
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> None:
        """See `Write`. A record that is there already stays as it is.

        Raises:
            Conflict: Another bundle has the same name and version and could run on the same hosts.
        """
        record = self.record
        if find_asset(connection, asset_id=record.asset_id) is not None:
            return
        for other in assets_named(connection, name=record.name):
            if other.version == record.version and _overlap(other, record):
                raise Conflict(
                    f"Asset {_described(record)} already exists, please increment the version and send again"
                )
        values = attrs.asdict(record) | {
            "created": now_ms,
            "is_compiled": int(record.is_compiled),
            "operations": None if record.operations is None else json.dumps(record.operations),
        }
        connection.execute(insert(assets).values(values))


@attrs.frozen(kw_only=True)
class DeleteAsset:
    """Take the record of a bundle away.

    Attributes:
        is_forced: Also when an execution that has not ended uses it, or a job needs it.
        resolve: Which bundle an identifier of a job means.
    """

    asset_id: str
    is_forced: bool = False
    resolve: Resolve = nothing
    is_held: ClassVar[bool] = False

    def apply(self, connection: Connection, now_ms: int) -> None:  # noqa: ARG002 - of the protocol
        """See `Write`.

        Raises:
            NotFound: There is no such bundle.
            Conflict: An execution uses it, or a job could not be started without it.
        """
        record = find_asset(connection, asset_id=self.asset_id)
        if record is None:
            raise NotFound(f"Unable to find asset {self.asset_id}")
        if not self.is_forced:
            if users := _users(connection, self.asset_id):
                raise Conflict(
                    f"asset {self.asset_id} is used by execution {_some(users)}; stop it first, or delete"
                    " with force=true"
                )
            if needing := _needing(connection, record, self.resolve):
                raise Conflict(
                    f"asset {self.asset_id} is needed by job {_some(needing)}; upload a version that does as"
                    " well, make the job inactive or delete it first, or delete with force=true"
                )
        connection.execute(delete(assets).where(assets.c.asset_id == self.asset_id))


def _overlap(one: AssetRecord, other: AssetRecord) -> bool:
    """Whether a host can exist that both can run on; which of them is there already makes no difference."""
    pairs = ((getattr(one, field), getattr(other, field)) for field in RESTRICTIONS)
    return all(a is None or b is None or a == b for a, b in pairs)


def _described(record: AssetRecord) -> str:
    fields = [
        (field, value)
        for field in ("name", "version", *RESTRICTIONS)
        if (value := getattr(record, field)) is not None
    ]
    return " AND ".join(f'{field}:"{value}"' for field, value in fields)


def _users(connection: Connection, asset_id: str) -> list[str]:
    """The executions that have not ended and use a bundle."""
    rows = connection.execute(select(executions.c.ex_id, executions.c.document).where(unended))
    return [row.ex_id for row in rows if asset_id in (decode(row.document).get("assets") or ())]


def _needing(connection: Connection, record: AssetRecord, resolve: Resolve) -> list[str]:
    """The active jobs with an identifier that means a bundle and would mean none without it."""
    named = assets_named(connection, name=record.name)
    others = [one for one in named if one.asset_id != record.asset_id]

    def needs(identifier: object) -> bool:
        if not isinstance(identifier, str):
            return False
        return identifier == record.asset_id or (
            identifier.partition(":")[0] == record.name
            and resolve(identifier, named) == record.asset_id
            and resolve(identifier, others) is None
        )

    has_assets = json_field(jobs.c.document, "assets").is_not(None)
    wanted = select(jobs.c.job_id, jobs.c.document).where(
        jobs.c.deleted == literal_column("0"), is_active == 1, has_assets
    )
    found = []
    for row in connection.execute(wanted.order_by(jobs.c.job_no)):
        document = decode(row.document)
        identifiers = document.get("assets")
        if isinstance(identifiers, list) and any(map(needs, identifiers)):
            found.append(f"{row.job_id} ({document.get('name')})")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


def check_assets(connection: Connection, document: Mapping[str, Any]) -> None:
    """Refuse to run what uses a bundle that was deleted meanwhile.

    Raises:
        Conflict: A bundle of the document is not there.
    """
    wanted = document.get("assets") or ()
    known = select(assets.c.asset_id).where(assets.c.asset_id.in_(list(wanted)))
    there = set(connection.execute(known).scalars())
    for asset_id in wanted:
        if asset_id not in there:
            raise Conflict(f"asset {asset_id}, which the execution uses, was deleted")


def find_asset(connection: Connection, *, asset_id: str) -> AssetRecord | None:
    """The bundle with this id, if there is one."""
    row = connection.execute(select(assets).where(assets.c.asset_id == asset_id)).mappings().one_or_none()
    return None if row is None else _record(row)


def assets_named(connection: Connection, *, name: str) -> list[AssetRecord]:
    """All bundles of a name, newest creation first."""
    rows = connection.execute(_matching(name=name).order_by(assets.c.asset_no.desc())).mappings()
    return [_record(row) for row in rows]


def asset_ids(connection: Connection) -> Collection[str]:
    """The ids of all bundles."""
    return frozenset(connection.execute(select(assets.c.asset_id)).scalars())


def list_assets(
    connection: Connection, *, page: Page, name: str | None = None, version: str | None = None
) -> list[Document]:
    """Bundles as clients see them.

    Args:
        connection: In a transaction.
        page: Which of them.
        name: Only those with this name; `*` in it stands for anything.
        version: Only those of this version; as above.

    Raises:
        InvalidRequest: The page can not be had.
    """
    statement = cut(_matching(name=name, version=version), page)
    statement = statement.order_by(*order_by(page.sort, ASSET_FIELDS, assets.c.asset_no))
    return [_shown(row) for row in fetch(connection, statement)]


def _matching(*, name: str | None = None, version: str | None = None) -> Select[Any]:
    statement = select(assets)
    for column, wanted in ((assets.c.name, name), (assets.c.version, version)):
        if wanted is not None:
            statement = statement.where(like(column, wanted) if "*" in wanted else column == wanted)
    return statement


def _record(row: RowMapping) -> AssetRecord:
    values = {field.name: row[field.name] for field in attrs.fields(AssetRecord)}
    said = {"is_compiled": bool(row["is_compiled"]), "operations": _operations(row)}
    return AssetRecord(**values | said)


def _operations(row: RowMapping) -> tuple[str, ...] | None:
    return None if row["operations"] is None else tuple(json.loads(row["operations"]))


def _shown(row: RowMapping) -> Document:
    """A bundle as clients see it; what its manifest does not say is left out."""
    said = {field: row[field] for field in _SHOWN if row[field] is not None}
    if (operations := _operations(row)) is not None:
        said["operations"] = list(operations)
    return {"_created": shown_time(row["created"]), **said, "id": row["asset_id"]}
