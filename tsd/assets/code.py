"""The code in a bundle, by the names of its files: which language, and in which modules operations are."""

from collections.abc import Collection
from pathlib import Path

from tsd.assets.manifest import Manifest
from tsd.errors import AssetInvalid

PYTHON = "python"
JAVASCRIPT = "javascript"
USUAL_MODULES = ("operations", "ops")
"""Where operations are when the manifest does not say."""

_SCRIPTS = (".js", ".mjs", ".cjs", ".ts")
_COMPILED = (".so", ".pyd", ".dylib")
_NO_OPERATIONS = frozenset({"site", "static", "tests", "wheels"})
"""Folders at the top that are something else."""


def language_of(files: Collection[str]) -> str:
    """`python`, `javascript`, or empty when there is no code at all."""
    if any(name.endswith(".py") for name in files) or is_compiled(files):
        return PYTHON
    return JAVASCRIPT if any(name.endswith(_SCRIPTS) for name in files) else ""


def is_compiled(files: Collection[str]) -> bool:
    """Whether there are compiled modules, which one version of Python runs and no other."""
    return any(name.endswith(_COMPILED) for name in files)


def check_modules(manifest: Manifest, files: Collection[str]) -> None:
    """Find the modules that a manifest names.

    Raises:
        AssetInvalid: One is not there.
    """
    names = frozenset(files)
    for module in manifest.modules:
        path = module.replace(".", "/")
        if not names & {f"{path}.py", f"{path}/__init__.py"} and not any(
            name.startswith(f"{path}.") and name.endswith(_COMPILED) for name in names
        ):
            raise AssetInvalid(f"the module {module} that asset.json names is not in the bundle")


def modules_of(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    """Where to look for operations in an unpacked bundle, or in a folder that one is made of.

    The modules that the manifest names; else `operations` and `ops`; else every package at the top that is
    not private.
    """
    if manifest.modules:
        return manifest.modules
    usual = [
        name
        for name in USUAL_MODULES
        if (folder / name / "__init__.py").exists() or (folder / f"{name}.py").exists()
    ]
    if usual:
        return tuple(usual)
    packages = (file.parent.name for file in folder.glob("*/__init__.py"))
    return tuple(
        sorted(
            name
            for name in packages
            if name.isidentifier() and not name.startswith("_") and name not in _NO_OPERATIONS
        )
    )
