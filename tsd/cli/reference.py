"""Writes the reference of the settings and operations from their declarations.

`python -m tsd.cli.reference` (or `make docs`) writes docs/configuration.md, the commented files in config/
and the second half of docs/operations.md; a test compares the files with what this writes.
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import yaml

from tsd.cli import jobs_reference, operations_reference
from tsd.cli.operations_reference import ROOT
from tsd.setting_fields import Setting, setting_of
from tsd.settings import IGNORED_SETTINGS, SECTIONS

EMBEDDED_HEAD = """\
The settings of a cluster in one process tree (`tsd up`). Every setting is here, commented out, with its
default: tsd needs no file at all. Take out the `#` of what you change.
"""
SEVERAL_HOSTS_HEAD = """\
One file for all hosts of a cluster: copy it to /etc/tsd/tsd.yaml on each, run `tsd master` on
master.example and `tsd node` on every host that is to do work. Settings without `#` are those that a
cluster of several hosts needs; all others have their defaults.
"""
SEVERAL_HOSTS: Mapping[str, object] = {
    "teraslice.master_hostname": "master.example",
    "tsd.listen": "0.0.0.0",  # noqa: S104 - an example to edit
    "tsd.allow_anonymous": True,
    "tsd.mesh_listen": "0.0.0.0",  # noqa: S104 - the same
    "tsd.allow_plaintext": True,
    "tsd.nodes": {
        "big.example": {"workers": 16, "labels": {"disk": "fast"}},
        "master.example": {"workers": 2},
    },
}

CONFIGURATION_HEAD = """\
# Configuration

<!-- Written by `make docs` from tsd/setting_sections.py: change it there. -->

One YAML file serves all daemons of a cluster. tsd takes the file given by `--config`, else by
`$TSD_CONFIG`, else `/etc/tsd/tsd.yaml` if it exists, else the defaults below, which are those of one
host with everything on loopback addresses.

* `tsd config check FILE` names every fault with its path and exits with 78 if there is one.
* `tsd config show` prints the settings in force.
* [config/embedded.yaml](../config/embedded.yaml) and
  [config/several-hosts.yaml](../config/several-hosts.yaml) have every setting in them.

A duration is a number of milliseconds or a text such as `90s`, `5 minutes`, `1.5 hours`. A size is a
number of bytes or a text such as `10 MiB`. Relative paths are taken from the folder of the file. A key
that tsd does not know is a fault, so that a misspelt setting is never silently ignored.

Each host finds itself in the file: its node id is `--node-id`, else `tsd.node_id`, else the host name;
where `tsd.nodes` has the host name with or without its domain, that is taken.

`systemctl reload` (SIGHUP to `tsd master` or `tsd node`) reads the file again. With any fault in it
nothing changes: the command ends well all the same, but `systemctl status` says that the file has a
fault, and `settings.refused` in the log which; so check it before. Else every change is logged. The column
*reload* says when one holds: `at once`, for `new processes` (controllers and workers that start from
then on), or after a `restart` of the daemon, which `systemctl status` names until then. `config` in
`/cluster/state` and in `systemctl status` stands for what the file says: where it differs from the
master's, a host has another file, and the master warns (`node.config_differs`).
"""
SECTION_TITLES = {
    "terafoundation": "Logs and connections. Names and meanings are Teraslice's.",
    "teraslice": "The cluster. Names and meanings are Teraslice's.",
    "tsd": "What only tsd has.",
}


def settings_of(section: str) -> Iterator[Setting]:
    """The settings of a section, in the order in which they are documented."""
    for field in attrs.fields(SECTIONS[section]):
        yield setting_of(field)


def default_words(setting: Setting) -> str:
    """The default for people: as one writes it in the file, or in words when the machine decides."""
    return setting.default_text or _flow(setting.default)


def configuration_page() -> str:
    """docs/configuration.md."""
    parts = [CONFIGURATION_HEAD]
    for section in SECTIONS:
        parts.append(f"## `{section}`\n\n{SECTION_TITLES[section]}\n")
        parts.append("| setting | type | default | reload | meaning |\n| --- | --- | --- | --- | --- |")
        for setting in settings_of(section):
            kind = f"{setting.kind} ({setting.unit})" if setting.unit else setting.kind
            default = setting.default_text or f"`{_flow(setting.default)}`"
            cells = [f"`{setting.key}`", kind, default, setting.reload, setting.doc]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    parts.append("## Accepted and ignored\n")
    parts.append(
        "These load, so that files written for Teraslice work, and a warning says that they do nothing.\n"
    )
    parts.append("| setting | why |\n| --- | --- |")
    parts += [
        f"| `{key}` | {reason.removeprefix('is ignored: ')} |" for key, reason in IGNORED_SETTINGS.items()
    ]
    return "\n".join(parts) + "\n"


def commented_file(head: str, active: Mapping[str, object]) -> str:
    """A cluster file with every setting in it.

    Args:
        head: What the file is for, at its top.
        active: Values by dotted name that are in force; all other settings are commented out.
    """
    lines = [f"# {line}" for line in head.strip().splitlines()]
    for section in SECTIONS:
        lines += ["", f"{section}:"]
        for setting in settings_of(section):
            unit = f", {setting.unit}" if setting.unit else ""
            about = f"{setting.kind}{unit}; default: {default_words(setting)}"
            for text in (setting.doc, about):
                lines += [f"  # {line}" for line in textwrap.wrap(text, 96)]
            path = f"{section}.{setting.key}"
            mark = "" if path in active else "#"
            value = active.get(path, setting.default)
            lines.append(f"  {mark}{setting.key}: {_flow(value)}")
            lines.append("")
        lines.pop()
    return "\n".join(lines) + "\n"


def generated_files() -> dict[str, str]:
    """Every generated file: path from the project's folder to content."""
    return {
        "config/embedded.yaml": commented_file(EMBEDDED_HEAD, {}),
        "config/several-hosts.yaml": commented_file(SEVERAL_HOSTS_HEAD, SEVERAL_HOSTS),
        "docs/configuration.md": configuration_page(),
        operations_reference.PAGE: operations_reference.with_reference(_page(operations_reference.PAGE)),
        jobs_reference.JOBS_PAGE: jobs_reference.with_fields(_page(jobs_reference.JOBS_PAGE)),
        jobs_reference.MIGRATING_PAGE: jobs_reference.with_bundles(_page(jobs_reference.MIGRATING_PAGE)),
    }


def _page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _flow(value: object) -> str:
    """A raw value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def main() -> int:
    """Write the generated files below the current folder."""
    for path, content in generated_files().items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
