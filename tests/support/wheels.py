"""Wheels as their makers build them."""

import base64
import hashlib

from tests.support.bundles import zip_of


def wheel(
    name="tiny",
    version="1.0",
    files=None,
    *,
    tag="py3-none-any",
    requires=(),
    python="",
    record=None,
    data=None,
    wheel_version="1.0",
):
    """A wheel as {path in the bundle: bytes}, to be put among the files of a bundle.

    Args:
        name: Of the distribution.
        version: Of it.
        files: Its modules; one of the same name that says its version by default.
        tag: What it is for.
        requires: Lines `Requires-Dist`.
        python: `Requires-Python`.
        record: Changes the rows of RECORD, path to hash.
        data: Files by their path in the folder `.data`.
        wheel_version: Of the format.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    content = {f"{name.replace('-', '_')}.py": f"VERSION = {version!r}\n"} if files is None else dict(files)
    content |= {f"{stem}.data/{path}": text for path, text in (data or {}).items()}
    facts = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    facts += [f"Requires-Dist: {line}" for line in requires]
    facts += [f"Requires-Python: {python}"] if python else []
    content[f"{stem}.dist-info/METADATA"] = "\n".join(facts) + "\n\nText.\n"
    content[f"{stem}.dist-info/WHEEL"] = (
        f"Wheel-Version: {wheel_version}\nRoot-Is-Purelib: true\nTag: {tag}\n"
    )
    rows = {path: hash_of(text) for path, text in content.items()} | (record or {})
    lines = [f"{path},{row},{len(content.get(path, ''))}" for path, row in rows.items() if row is not None]
    content[f"{stem}.dist-info/RECORD"] = "\n".join([*lines, f"{stem}.dist-info/RECORD,,"]) + "\n"
    return {f"wheels/{stem}-{tag}.whl": zip_of(content)}


def hash_of(content, method="sha256"):
    """As RECORD has it."""
    data = content.encode() if isinstance(content, str) else content
    digest = base64.urlsafe_b64encode(hashlib.new(method, data).digest()).decode().rstrip("=")
    return f"{method}={digest}"
