"""What a host can run, in the words of manifests, which are those of Node: `linux`, `x64`, `arm64`."""

import platform
import re
import sys

import attrs

from tsd.core.assets import AssetRecord

_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "i686": "ia32", "i386": "ia32"}
_PYTHON_VERSION = re.compile(r"\d{1,3}(\.\d{1,4}){0,2}")


@attrs.frozen(kw_only=True)
class Host:
    """What a bundle can be restricted to.

    Attributes:
        python: Version of the Python that runs operations, as numbers.
    """

    platform: str
    arch: str
    python: tuple[int, ...]


def this_host() -> Host:
    """The one that we are on."""
    return Host(platform=sys.platform, arch=node_arch(), python=tuple(sys.version_info[:3]))


def node_arch() -> str:
    """The processor as Node names it: `x64`, `arm64`."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def python_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a `python_version`.

    Raises:
        ValueError: It is not one to three numbers.
    """
    if _PYTHON_VERSION.fullmatch(text) is None:
        raise ValueError(f'Invalid python_version "{text[:40]}", write it as in "3.11"')
    return tuple(int(part) for part in text.split("."))


def mismatches(asset: AssetRecord, host: Host) -> list[tuple[str, str]]:
    """Why a bundle can not run on a host, as (restriction, explanation); empty when it can.

    A bundle runs with its `python_version` and with later ones; one with compiled modules only with the same
    major and minor version. `node_version` restricts nothing: what needs Node does not run here at all.
    """
    found = []
    for field, wanted, here in (
        ("platform", asset.platform, host.platform),
        ("arch", asset.arch, host.arch),
    ):
        if wanted is not None and wanted != here:
            found.append((field, f"needs {field} {wanted}, this is {here}"))
    if asset.python_version is not None and not _fits(asset, host):
        here = ".".join(str(number) for number in host.python)
        exactly = "exactly " if asset.is_compiled else ""
        found.append(("python_version", f"needs {exactly}Python {asset.python_version}, this is {here}"))
    return found


def _fits(asset: AssetRecord, host: Host) -> bool:
    wanted = python_numbers(asset.python_version or "")
    if asset.is_compiled:
        return wanted[:2] == host.python[: len(wanted[:2])]
    return wanted[0] == host.python[0] and wanted <= host.python[: len(wanted)]
