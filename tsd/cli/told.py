"""What commands that ask a master have in common: where it is, and what they say when something is wrong."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tsd.cli import exit_codes

URL_OPTION = click.option(
    "--url",
    envvar="TSD_URL",
    default="http://127.0.0.1:5678",
    show_default=True,
    metavar="URL",
    help="Where the master is; else $TSD_URL.",
)


@contextmanager
def told() -> Iterator[None]:
    """Say what went wrong in one line, and end with the exit code for it."""
    from tsd.cli.client import ApiError, MasterUnreachable  # noqa: PLC0415 - `tsd --help` is to be quick
    from tsd.errors import AssetError, TsdError  # noqa: PLC0415 - the same

    try:
        yield
    except MasterUnreachable as error:
        _end(f"{error}; --url or $TSD_URL says where the master is", exit_codes.FAILED)
    except ApiError as error:
        _end(error, exit_codes.CONFIG if error.status == 422 else exit_codes.FAILED)
    except AssetError as error:
        _end(error, exit_codes.CONFIG)
    except BrokenPipeError:
        raise  # the reader of our output has gone, which is nothing to tell
    except PermissionError as error:
        _end(error, exit_codes.PERMISSION)
    except (TsdError, OSError) as error:
        _end(error, exit_codes.FAILED)


def _end(error: Exception | str, code: int) -> None:
    click.echo(f"tsd: {error}", err=True)
    sys.exit(code)
