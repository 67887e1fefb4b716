"""The `tsd` command. Its subcommands import what they need when they run, so that `--help` is quick."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tsd import __version__
from tsd.cli import exit_codes
from tsd.cli.bundles import assets
from tsd.cli.nodes import drain, nodes, undrain
from tsd.observe.lean import import_structlog
from tsd.observe.streams import prepare_process

if TYPE_CHECKING:
    from tsd.operations.registry import Registry
    from tsd.settings import Settings

Made = TypeVar("Made")

CONFIG_OPTION = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Cluster file; else $TSD_CONFIG, else /etc/tsd/tsd.yaml if it exists, else the defaults.",
)
DATA_DIR_OPTION = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Data folder, instead of tsd.data_dir.",
)
WORKERS_OPTION = click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Slots of this node, instead of teraslice.workers.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tsd")
def cli() -> None:
    """Sliced data-processing jobs on a cluster.

    Start with `tsd up` (a whole cluster on this host) or `tsd run JOB.json` (a cluster for one job).
    """


@cli.command()
@CONFIG_OPTION
@DATA_DIR_OPTION
@click.option("--port", type=int, metavar="N", help="Port of the REST API; 0 takes any free one.")
@WORKERS_OPTION
def up(config: Path | None, data_dir: Path | None, port: int | None, workers: int | None) -> None:
    """Run a whole cluster on this host: master and node in one process tree.

    Ctrl-C drains: running slices end, states are recorded. A second one hurries.
    """
    import_structlog()
    from tsd.cli.up import run_up  # noqa: PLC0415 - `tsd --help` is to be quick

    settings = _load(config, _overrides(data_dir, port, workers))
    sys.exit(run_up(settings))


@cli.command()
@CONFIG_OPTION
@DATA_DIR_OPTION
@click.option("--port", type=int, metavar="N", help="Port of the REST API, instead of teraslice.port.")
def master(config: Path | None, data_dir: Path | None, port: int | None) -> None:
    """Run the master daemon: REST API, scheduler and store of a cluster."""
    overrides = _overrides(data_dir, port, None)
    settings = _load(config, overrides)
    import_structlog()
    from tsd.master.daemon import run_master  # noqa: PLC0415 - heavy, and faults of the file come first
    from tsd.settings import load_settings  # noqa: PLC0415 - the same

    # The same file again: one that is gone is a fault then, and no wish for the defaults.
    file = settings.path or config
    sys.exit(run_master(settings, reload=lambda: load_settings(file, overrides)))


@cli.command()
@CONFIG_OPTION
@DATA_DIR_OPTION
@WORKERS_OPTION
@click.option("--node-id", metavar="NAME", help="Name of this node, instead of tsd.node_id or the host name.")
@click.option("--master", "master_hostname", metavar="HOST", help="Host of the master.")
def node(
    *,
    config: Path | None,
    data_dir: Path | None,
    workers: int | None,
    node_id: str | None,
    master_hostname: str | None,
) -> None:
    """Run the node daemon: starts and watches the processes that do the work on this host."""
    overrides = _overrides(data_dir, None, None) | {"teraslice.master_hostname": master_hostname}
    settings = _load(config, overrides)
    node_id = node_id or settings.node_id
    import_structlog()
    from tsd.node.daemon import run_node  # noqa: PLC0415 - heavy, and faults of the file come first
    from tsd.settings import load_settings  # noqa: PLC0415 - the same

    file = settings.path or config  # as for the master

    def reload() -> "Settings":
        return load_settings(file, overrides).for_node(node_id, workers=workers)

    sys.exit(run_node(settings.for_node(node_id, workers=workers), node_id, reload=reload))


@cli.command()
@click.argument("job", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG_OPTION
@DATA_DIR_OPTION
@WORKERS_OPTION
@click.option("--keep", is_flag=True, help="Keep the temporary data folder (logs, states of slices).")
@click.option(
    "--assets",
    "bundles",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    metavar="DIR|ZIP",
    help="Bundle to load first, whose folder is built; may be repeated. The job names it in `assets`.",
)
@click.option("--verbose", is_flag=True, help="Show the daemons' logs instead of writing them to a file.")
@click.option(
    "--quiet", is_flag=True, help="Say nothing unless the job fails; what its code prints is shown."
)
@click.option(
    "--in-process",
    is_flag=True,
    help="Run the job in this process, slice by slice and without a cluster: for breakpoint() and pdb.",
)
def run(
    *,
    job: Path,
    config: Path | None,
    data_dir: Path | None,
    workers: int | None,
    keep: bool,
    bundles: tuple[Path, ...],
    verbose: bool,
    quiet: bool,
    in_process: bool,
) -> None:
    """Run one job file from start to end on a cluster of its own, and show how it goes.

    What the code of the job prints, and the operation stdout, is shown as it was printed. The cluster is
    private: free ports, and a temporary data folder. That is removed at the end, but kept for a week when the
    job fails or has dead letters, and for good with --keep. Ctrl-C stops the job after its running slices; a
    second one hurries.

    Exit code: 0 completed, 1 failed, 2 stopped by you, 75 the data folder is in use, 77 a permission is
    missing, 78 the job, a bundle or a setting is invalid.
    """
    if in_process:
        from tsd.cli.in_process import run_in_process  # noqa: PLC0415 - `tsd --help` is to be quick

        sys.exit(run_in_process(job, lambda: _load(config, {}), bundles=bundles, quiet=quiet))
    from tsd.cli.run import run_job  # noqa: PLC0415 - `tsd --help` is to be quick

    sys.exit(
        run_job(
            job,
            lambda overrides: _load(config, overrides | {"teraslice.workers": workers}),
            data_dir=data_dir,
            keep=keep,
            bundles=bundles,
            verbose=verbose,
            quiet=quiet,
        )
    )


cli.add_command(assets)
cli.add_command(nodes)
cli.add_command(drain)
cli.add_command(undrain)


@cli.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
@CONFIG_OPTION
@DATA_DIR_OPTION
def backup(target: Path, config: Path | None, data_dir: Path | None) -> None:
    """Copy the store and the bundles of the master to a new folder, also while it works.

    Under systemd the data folder is /var/lib/tsd-master.
    """
    settings = _load(config, _overrides(data_dir, None, None))
    from tsd.cli.backup import back_up  # noqa: PLC0415 - heavy, and faults of the file come first
    from tsd.errors import StoreError  # noqa: PLC0415 - the same

    try:
        back_up(settings.tsd.data_dir, target)
    except StoreError as error:
        click.echo(f"tsd: {error}", err=True)
        sys.exit(exit_codes.FAILED)


@cli.group()
def config() -> None:
    """Check and show the settings."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
def check(file: Path | None) -> None:
    """Check a cluster file: every fault with its path; exit code 78 if there is one.

    Without FILE it is the one that daemons would read: $TSD_CONFIG, else /etc/tsd/tsd.yaml if it exists.
    """
    settings = _load(file, {})
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{settings.path or 'the embedded defaults'}: ok")


@config.command()
@CONFIG_OPTION
def show(config: Path | None) -> None:
    """Print the settings in force as a cluster file, secrets hidden."""
    from tsd.cli.config_show import shown_settings  # noqa: PLC0415 - `tsd --help` is to be quick

    click.echo(shown_settings(_load(config, {})), nl=False)


BUNDLES_OPTION = click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Folder of a bundle, with its asset.json, whose operations are shown too; may be repeated.",
)


@cli.group()
def ops() -> None:
    """Show operations: which there are, what they take, and the JSON Schema of jobs."""


@ops.command("list")
@CONFIG_OPTION
@BUNDLES_OPTION
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_ops(*, config: Path | None, bundles: tuple[Path, ...], as_json: bool) -> None:
    """List all operations and APIs by kind, those of the cluster file's modules included."""
    from tsd.cli.ops import listing, listing_json  # noqa: PLC0415 - `tsd --help` is to be quick

    definitions = _registry(config, bundles).definitions()
    click.echo(listing_json(definitions) if as_json else listing(definitions))


@ops.command("show")
@click.argument("name")
@CONFIG_OPTION
@BUNDLES_OPTION
@click.option(
    "--kind",
    type=click.Choice(["reader", "processor", "api", "observer"]),
    help="Which one, when several have the name.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON Schema (draft 2020-12) of its options.")
def show_op(
    *, name: str, config: Path | None, bundles: tuple[Path, ...], kind: str | None, as_json: bool
) -> None:
    """Show what one operation or API does, and its options with types and defaults."""
    from tsd.cli.ops import description, find, schema_of  # noqa: PLC0415 - `tsd --help` is to be quick

    found = _or_exit(lambda: find(_registry(config, bundles), name, kind))
    if as_json and len(found) > 1:
        kinds = ", ".join(f"--kind {each.kind}" for each in found)
        click.echo(f"tsd: several things are named {name}; add one of {kinds}", err=True)
        sys.exit(exit_codes.FAILED)
    show = schema_of if as_json else description
    click.echo("\n\n".join(show(each) for each in found))


@ops.command("schema")
@CONFIG_OPTION
@BUNDLES_OPTION
def schema(config: Path | None, bundles: tuple[Path, ...]) -> None:
    """Print the JSON Schema of job files, for editors and checkers.

    It knows every operation of tsd, of the modules that the cluster file names, and of the bundles given.
    """
    from tsd.cli.ops import schema_of_jobs  # noqa: PLC0415 - `tsd --help` is to be quick

    click.echo(schema_of_jobs(_registry(config, bundles).definitions()))


def _registry(config: Path | None, bundles: tuple[Path, ...]) -> "Registry":
    settings = _load(config, {})
    from tsd.cli.ops import registry_of  # noqa: PLC0415 - heavy, and faults of the file come first

    return _or_exit(lambda: registry_of(settings, bundles))


def _or_exit(make: "Callable[[], Made]") -> "Made":
    """What it makes, or why not on stderr and exit code 1."""
    from tsd.errors import AssetError  # noqa: PLC0415 - `tsd --help` is to be quick

    try:
        return make()
    except AssetError as error:
        click.echo(f"tsd: {error}", err=True)
        sys.exit(exit_codes.FAILED)


def _overrides(data_dir: Path | None, port: int | None, workers: int | None) -> dict[str, object]:
    """Command-line options as raw settings; paths are the caller's, so they are made absolute here."""
    return {
        "tsd.data_dir": str(data_dir.absolute()) if data_dir is not None else None,
        "teraslice.port": port,
        "teraslice.workers": workers,
    }


def _load(config: Path | None, overrides: dict[str, object]) -> "Settings":
    """The settings, or every fault on stderr and exit code 78."""
    from tsd.errors import ConfigError  # noqa: PLC0415 - `tsd --help` is to be quick
    from tsd.settings import load_settings  # noqa: PLC0415 - the same

    try:
        return load_settings(config, overrides)
    except ConfigError as error:
        click.echo(f"tsd: {error}", err=True)
        sys.exit(exit_codes.CONFIG)


def main(argv: list[str] | None = None) -> Any:
    """Entry point of the `tsd` script."""
    prepare_process()
    command: Callable[..., Any] = cli.main
    stdout = sys.stdout
    try:
        try:
            code = command(args=argv, prog_name="tsd", standalone_mode=False)
        except SystemExit as stop:
            if sys.stdout is not stdout and type(sys.stdout).__module__.startswith("click."):
                sys.stdout = stdout
                raise BrokenPipeError from None  # click has met one, put a wrapper there, and ended with 1
            # What was written is in a buffer yet, and whoever is to read it may have gone.
            sys.stdout.flush()
            raise SystemExit(stop.code) from None
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else exit_codes.OK)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tsd: stopped", err=True)
        sys.exit(exit_codes.INTERRUPTED)
    except BrokenPipeError:
        _forget_stdout()
        sys.exit(exit_codes.READER_GONE)
    except OSError as error:
        _forget_stdout()
        click.echo(f"tsd: {error}", err=True)
        sys.exit(exit_codes.FAILED)


def _forget_stdout() -> None:
    """What is left in the buffer goes nowhere, and Python says nothing about it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
