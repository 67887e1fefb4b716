"""A bundle as the cluster keeps it: what its manifest says, and what its check found."""

import attrs


@attrs.frozen(kw_only=True)
class AssetRecord:
    """One stored bundle. A restriction that is None holds everywhere.

    Attributes:
        asset_id: 40 hex digits; see `tsd.assets.identity`.
        version: Three numbers and perhaps a pre-release, as in `1.2.3-rc.1`.
        node_version: Major version of Node that a bundle of JavaScript asks for.
        python_version: Oldest Python it runs with, as in `3.11`; the only one when it `is_compiled`.
        language: `python` or `javascript`; empty for a bundle without code.
        is_compiled: It carries compiled modules.
        size_b: Of the zip.
        operations: Names of the operations and APIs in it; None when its code was not imported, because it is
            for other hosts or no Python.
        manifest: The whole `asset.json`, as JSON text.
    """

    asset_id: str
    name: str
    version: str
    description: str | None = None
    platform: str | None = None
    arch: str | None = None
    node_version: int | None = None
    python_version: str | None = None
    language: str = ""
    is_compiled: bool = False
    size_b: int = 0
    operations: tuple[str, ...] | None = None
    manifest: str = "{}"
