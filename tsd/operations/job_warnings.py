"""What is said about a job that can run: its `warnings`, as the API answers them.

Every warning has one shape, which is Teraslice's, so that its clients print it:

```json
{"type": "JobValidation",
 "reason": {"type": "assetOperation", "kind": "unknown-option",
            "reason": {"field": "compresion", "_op": "file_exporter", "path": "operations[1].compresion",
                       "description": "operations[1].compresion is no option of file_exporter"}}}
```

Clients of Teraslice print `kind` and `description`, so a description names its place itself. Deprecations
have no `path`, and their description only says what to use: they are as Teraslice makes them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs


class WarningKind(StrEnum):
    """What a warning is about.

    Attributes:
        DEPRECATION: An option is deprecated.
        UNKNOWN_OPTION: An option is none that anybody reads; it is kept and does nothing.
        BUILT_IN: A bundle of Teraslice is named whose operations come with tsd.
        ADVICE: The operation itself says that its options may not do what is wanted.
        CAPACITY: The cluster cannot give the job what it asks for, now or ever.
    """

    DEPRECATION = "deprecation"
    UNKNOWN_OPTION = "unknown-option"
    BUILT_IN = "built-in"
    ADVICE = "advice"
    CAPACITY = "capacity"


@attrs.frozen(kw_only=True)
class Subject:
    """What a warning is about: the job, or one of its operations or APIs.

    Attributes:
        type: `jobProperty`, `assetOperation` or `assetAPIProperty`, which are Teraslice's words.
        name_key: `_op` or `api_name`; empty for the job.
        name: The operation or API; empty for the job.
    """

    type: str
    name_key: str = ""
    name: str = ""

    @classmethod
    def of(cls, kind: str, name: str) -> "Subject":
        """An `operation` or an `api`."""
        if kind == "operation":
            return cls(type="assetOperation", name_key="_op", name=name)
        return cls(type="assetAPIProperty", name_key="api_name", name=name)


THE_JOB = Subject(type="jobProperty")


def warning(
    kind: WarningKind, subject: Subject, *, field: str, description: str, path: str | None
) -> dict[str, Any]:
    """A warning as the API answers it.

    Args:
        kind: What it is about.
        subject: Where it belongs.
        field: The option; empty when it is about the whole.
        description: A sentence for people.
        path: The place in the job, as in `operations[1].size`; None for a deprecation.
    """
    reason: dict[str, Any] = {"field": field, "description": description}
    if subject.name_key:
        reason[subject.name_key] = subject.name
    if path is not None:
        reason["path"] = path
    return {
        "type": "JobValidation",
        "reason": {"type": subject.type, "kind": kind.value, "reason": reason},
    }


def text_of(document: Mapping[str, Any]) -> str:
    """A warning in a line for people."""
    outer = document.get("reason") or {}
    reason = outer.get("reason") or {}
    description = str(reason.get("description", ""))
    if "path" in reason:
        return description
    owner = reason.get("_op") or reason.get("api_name") or "the job"
    return f"{owner}: {reason.get('field')} is deprecated: {description}"
