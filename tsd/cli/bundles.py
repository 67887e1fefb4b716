"""`tsd assets`: making bundles of operations, and keeping them in a cluster."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsd.cli.told import URL_OPTION, told

if TYPE_CHECKING:
    from tsd.cli.bundle_build import Built
    from tsd.cli.bundle_store import BundleStore

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_SOURCE = click.Path(path_type=Path, exists=True)


@click.group()
def assets() -> None:
    """Make bundles of operations, and keep them in a cluster.

    A new one: `tsd assets init NAME`, write and test operations, `tsd assets deploy`.

    Exit code: 0 done, 1 the master refused or does not answer, 2 wrong usage, 78 the bundle is not good.
    """


@assets.command()
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The new folder, instead of ./NAME.")
def init(name: str, folder: Path | None) -> None:
    """Make a folder with a bundle that works: an operation, a test of it, an example job.

    The folder must not be there yet, or be empty.
    """
    from tsd.cli.bundle_template import init as make  # noqa: PLC0415 - `tsd --help` is to be quick

    with told():
        folder = folder or Path(name)
        for path in make(name, folder):
            click.echo(folder / path)
    click.echo(f"next: cd {folder} && pytest && tsd assets build")


@assets.command()
@click.argument("folder", type=_FOLDER, default=".", metavar="[DIR]")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The zip."
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="REQUIREMENTS",
    help="First have pip collect wheels of these requirements in wheels/; this may use the network.",
)
def build(folder: Path, output: Path | None, wheels: Path | None) -> None:
    """Check the bundle in DIR (here by default) and make its zip.

    Everything in the folder belongs to it, except tests, examples, build, dist, zips and what begins with a
    dot. Its code is imported in a process of its own. Equal files give an equal zip, and so an equal id. The
    zip is build/NAME-VERSION.zip unless --output says otherwise.
    """
    from tsd.cli import bundle_build  # noqa: PLC0415 - `tsd --help` is to be quick

    with told():
        if wheels is not None:
            for name in bundle_build.collect_wheels(folder, wheels):
                click.echo(f"wheel      {name}")
        _show_built(bundle_build.build(folder, output))


@assets.command()
@click.argument("source", type=_SOURCE, default=".", metavar="[DIR|ZIP]")
@click.option(
    "--replace", is_flag=True, help="Delete the bundle of the same name and version first, if need be."
)
@click.option(
    "--force", is_flag=True, help="With --replace: also when a job or an execution needs the old one."
)
@URL_OPTION
def deploy(*, source: Path, replace: bool, force: bool, url: str) -> None:
    """Send a bundle to the cluster; a folder is built first.

    The same bytes once more change nothing. With --replace the old bundle is deleted only after the new one
    was found good.
    """
    with told():
        if source.is_dir():
            from tsd.cli.bundle_build import build as make  # noqa: PLC0415 - heavy

            built = make(source)
            _show_built(built)
            source = built.path
        asset_id, is_new = _store(url).deploy(source, replace=replace, is_forced=force)
        click.echo(f"{'deployed ' if is_new else 'unchanged'}  {asset_id} at {url}")


@assets.command("list")
@click.argument("name", required=False)
@URL_OPTION
def list_(name: str | None, url: str) -> None:
    """List the bundles of the cluster, newest first; * in NAME stands for anything."""
    with told():
        rows = [("name", "version", "created", "id", "operations")]
        for asset in _store(url).find(name):
            operations = ", ".join(asset.get("operations") or ())
            rows.append((asset["name"], asset["version"], asset["_created"], asset["id"], operations))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            cells = [*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]
            click.echo("  ".join(cells).rstrip())


@assets.command()
@click.argument("bundle", metavar="NAME[:VERSION]|ID")
@URL_OPTION
def show(bundle: str, url: str) -> None:
    """Show what the cluster knows about a bundle; of a name, its newest version."""
    with told():
        for key, value in _store(url).one(bundle).items():
            click.echo(f"{key + ':':<16}{', '.join(value) if isinstance(value, list) else value}")


@assets.command()
@click.argument("bundle", metavar="ID|NAME:VERSION")
@click.option("--force", is_flag=True, help="Also when a job or an execution needs it.")
@URL_OPTION
def delete(*, bundle: str, force: bool, url: str) -> None:
    """Delete a bundle from the cluster.

    It is refused while an execution uses it, or an active job could not be started without it.
    """
    if ":" not in bundle and not re.fullmatch("[0-9a-f]{40}", bundle):
        raise click.UsageError(f"say which version of {bundle} is to be deleted, as in {bundle}:1.0.0")
    with told():
        click.echo(f"deleted  {_store(url).delete(bundle, is_forced=force)}")


def _store(url: str) -> "BundleStore":
    from tsd.cli.bundle_store import BundleStore  # noqa: PLC0415 - `tsd --help` is to be quick
    from tsd.cli.client import MasterClient  # noqa: PLC0415 - the same

    return BundleStore(MasterClient(url, timeout_s=300))


def _show_built(built: "Built") -> None:
    click.echo(f"built      {built.path}")
    click.echo(f"id         {built.asset_id}")
    click.echo(f"size       {built.size_b:,} bytes")
    for offer in built.offers or ():
        click.echo(f"{offer.kind:<10} {offer.name}")
    if built.note:
        click.echo(f"note: {built.note}", err=True)
