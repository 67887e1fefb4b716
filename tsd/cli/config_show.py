"""`tsd config show`: the settings in force, in the form of a cluster file."""

from pathlib import Path
from typing import Any

import attrs
import yaml

from tsd.cli.reference import settings_of
from tsd.observe.log import redact
from tsd.setting_sections import LogLevels, NodeOverrides
from tsd.settings import SECTIONS, Settings


def shown_settings(settings: Settings) -> str:
    """The settings as YAML that loads to the same settings, except for secrets, which are hidden."""
    document: dict[str, dict[str, Any]] = {}
    for section, record in SECTIONS.items():
        values = getattr(settings, section)
        names = [field.name for field in attrs.fields(record)]
        document[section] = {
            setting.key: _raw(name, getattr(values, name))
            for setting, name in zip(settings_of(section), names, strict=True)
        }
    lines = [
        f"# {settings.path or 'embedded defaults'}",
        *(f"# warning: {text}" for text in settings.warnings),
    ]
    hidden = redact(document)
    return (
        "\n".join(lines) + "\n" + yaml.safe_dump(hidden, sort_keys=False, width=100, default_flow_style=False)
    )


def _raw(name: str, value: Any) -> Any:
    """A typed value as the file has it; durations become milliseconds."""
    if isinstance(value, float) and name.endswith("_s"):
        return round(value * 1000)
    if name == "slicer_port_range":
        return f"{value[0]}:{value[1]}"
    if isinstance(value, LogLevels):
        return [{"console": value.console}, {"file": value.file}]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, NodeOverrides):
        return attrs.asdict(value, filter=lambda _field, item: item not in (None, {}))
    if isinstance(value, dict):
        return {key: _raw("", item) for key, item in value.items()}
    return value
