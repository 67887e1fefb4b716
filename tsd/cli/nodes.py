"""`tsd nodes`, `tsd drain`, `tsd undrain`: the nodes of a cluster."""

import sys
from typing import TYPE_CHECKING

import click

from tsd.cli.told import URL_OPTION, told

if TYPE_CHECKING:
    from tsd.cli.node_store import NodeStore


@click.command()
@URL_OPTION
def nodes(url: str) -> None:
    """List the nodes of the cluster: state, slots, host, version, and since when they are drained.

    `config` stands for the cluster file that a node has read: where it differs, a host has another one.
    """
    with told():
        rows = [
            ("node", "state", "slots", "free", "processes", "hostname", "version", "config", "drained since")
        ]
        for node in _store(url).find():
            cells = [node.get(name, "-") for name in ("total", "available", "processes")]
            about = [node.get(name, "-") for name in ("hostname", "tsd_version", "config", "drain_since")]
            rows.append((node["node_id"], node["state"], *map(str, cells), *about))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            click.echo("  ".join(cells).rstrip())


@click.command()
@click.argument("node")
@click.option("--no-wait", is_flag=True, help="End at once; what runs there leaves meanwhile.")
@click.option(
    "--timeout",
    metavar="DURATION",
    help="How long running slices have to end, such as 90s; then they are cut short and run again elsewhere."
    " By default as long as they need.",
)
@URL_OPTION
def drain(*, node: str, no_wait: bool, timeout: str | None, url: str) -> None:
    """Let nothing run on a node, and wait until it is empty.

    It gets no new process. Workers there end their running slice and are replaced on other nodes; controllers
    have all records stored and go on there. What has no room elsewhere waits for it. The node stays drained,
    also when it or the master is started again, until `tsd undrain NODE`. Ctrl-C ends the waiting only.

    Exit code: 0 drained, 1 the master refused or does not answer, or somebody used the node again, 2 you
    ended the waiting.
    """
    from tsd.cli.node_store import Draining  # noqa: PLC0415 - `tsd --help` is to be quick

    with told():
        sys.exit(Draining(_store(url), node, say=click.echo).run(timeout=timeout, waits=not no_wait))


@click.command()
@click.argument("node")
@URL_OPTION
def undrain(node: str, url: str) -> None:
    """Use a drained node again; once more it changes nothing."""
    with told():
        click.echo(f"{node} is used again: {_store(url).undrain(node)['state']}")


def _store(url: str) -> "NodeStore":
    from tsd.cli.client import MasterClient  # noqa: PLC0415 - `tsd --help` is to be quick
    from tsd.cli.node_store import NodeStore  # noqa: PLC0415 - the same

    return NodeStore(MasterClient(url))
