"""Reading the cluster file again while a daemon runs: what changed, what of it holds now, what waits.

SIGHUP asks for it. A file with any fault is refused as a whole, and what held before goes on.
"""

import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import attrs
import structlog
import trio

from tsd.errors import ConfigError
from tsd.observe.log import REDACTED, redact, set_default_levels
from tsd.observe.notify import Notifier
from tsd.setting_fields import RESTART, setting_of
from tsd.setting_sections import NodeOverrides
from tsd.settings import SECTIONS, Settings

_log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class Change:
    """One setting that is not what it was.

    Attributes:
        setting: Its dotted name.
        was: Its former value for people, secrets hidden.
        now: Its new one.
        applies: One of the words of `tsd.setting_fields`: when the new value holds.
    """

    setting: str
    was: str
    now: str
    applies: str


def changes_between(old: Settings, new: Settings) -> tuple[Change, ...]:
    """What differs, in the order of the documentation."""
    changes = []
    for section, record in SECTIONS.items():
        former, latter = getattr(old, section), getattr(new, section)
        for field in attrs.fields(record):
            was, now = getattr(former, field.name), getattr(latter, field.name)
            if was != now:
                setting = setting_of(field)
                was_words, now_words = _words(field.name, was), _words(field.name, now)
                changes.append(
                    Change(
                        setting=f"{section}.{setting.key}",
                        was=was_words,
                        now=now_words if now_words != was_words else "another value, which is hidden",
                        applies=setting.reload,
                    )
                )
    return tuple(changes)


def with_reloaded(old: Settings, new: Settings) -> Settings:
    """The old settings with those of the new ones that need no restart, and the new digest."""
    sections = {}
    for section, record in SECTIONS.items():
        latter = getattr(new, section)
        taken = {
            field.name: getattr(latter, field.name)
            for field in attrs.fields(record)
            if setting_of(field).reload != RESTART
        }
        sections[section] = attrs.evolve(getattr(old, section), **taken)
    return attrs.evolve(old, **sections, digest=new.digest, path=new.path, warnings=new.warnings)


def signals_of_reload() -> AbstractContextManager[AsyncIterator[int]]:
    """Receives SIGHUP; open it before the daemon says that it is ready, or the first one ends it."""
    return trio.open_signal_receiver(signal.SIGHUP)


@attrs.define(kw_only=True)
class Reloading:
    """The settings of a daemon as they are now, and how they change.

    Attributes:
        settings: Those in force.
        load: Reads the file again; raises ConfigError. None where there is none to read.
        apply: Called with the new settings in force.
        notifier: Tells the service manager.
        waiting: Names of settings that differ from the file until a restart.
        is_refused: The file had a fault when it was read last, so it is not what holds.
    """

    settings: Settings
    load: Callable[[], Settings] | None
    apply: Callable[[Settings], None]
    notifier: Notifier
    waiting: tuple[str, ...] = attrs.field(default=(), init=False)
    is_refused: bool = attrs.field(default=False, init=False)

    async def serve(self, signals: AsyncIterator[int]) -> None:
        """Reload at each signal, until cancelled."""
        async for _ in signals:
            self.notifier.reloading()
            await self._reload()
            self.notifier.ready()

    def status(self) -> str:
        """Which file is in force, for people: `config 1a2b3c4d5e6f`, what waits for a restart, a fault."""
        waiting = f", restart for {', '.join(self.waiting)}" if self.waiting else ""
        refused = ", the file has a fault now: see the log" if self.is_refused else ""
        return f"config {self.settings.digest}{waiting}{refused}"

    async def _reload(self) -> None:
        if self.load is None:
            _log.warning("settings.fixed", reason="this daemon was not started from a cluster file")
            return
        try:
            new = await trio.to_thread.run_sync(self.load)
        except ConfigError as error:
            self.is_refused = True
            _log.error("settings.refused", reason=str(error), config=self.settings.digest)
            return
        self.is_refused = False
        changes = changes_between(self.settings, new)
        for change in changes:
            _log.info(
                "setting.changed",
                setting=change.setting,
                was=change.was,
                now=change.now,
                applies=change.applies,
            )
        for warning in new.warnings:
            _log.warning("settings.noted", reason=warning)
        self.waiting = tuple(change.setting for change in changes if change.applies == RESTART)
        self.settings = with_reloaded(self.settings, new)
        set_default_levels(self.settings.terafoundation.log_level)
        self.apply(self.settings)
        _log.info(
            "settings.reloaded",
            config=self.settings.digest,
            changes=len(changes),
            restart=list(self.waiting),
        )


_FREE_FORM = {"connectors", "env_vars"}
"""Settings with keys of other people's programs: any value may be a secret, so none is logged."""


def _words(name: str, value: Any) -> str:
    if name in _FREE_FORM:
        return str(_names_only(value))
    if isinstance(value, float) and name.endswith("_s"):
        return f"{value:g} s"
    return str(redact(_plain(value)))


def _names_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _names_only(item) for key, item in value.items()}
    return REDACTED


def _plain(value: Any) -> Any:
    """Records as mappings, so that what is secret in them is found by its name."""
    if isinstance(value, NodeOverrides):
        return attrs.asdict(value, filter=lambda _field, item: item not in (None, {}))
    if attrs.has(type(value)):
        return attrs.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
