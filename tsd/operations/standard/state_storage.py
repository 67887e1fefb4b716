"""state_storage: values by key that outlive slices, workers and executions, in a SQLite file."""

import fcntl
import math
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
from typing_extensions import override

from tsd.errors import OperationError
from tsd.operations import formats
from tsd.operations.apis import Api, api
from tsd.operations.config import ApiConfig, opt

Key = str | int | float
_BUSY_S = 60.0
"""How long to wait for other workers that write."""
_TABLE = "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID"
_GET = "SELECT key, value FROM state WHERE key IN (SELECT value FROM json_each(?))"
_SET = "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM state WHERE key = ?"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@attrs.define(kw_only=True)
class StateStorageConfig(ApiConfig):
    """Options of state_storage."""

    path: str = opt(convert=formats.required_string, doc="the file, on a disk of the host")
    cache_size: int = opt(100_000, convert=formats.positive_int, doc="values that a worker keeps in memory")
    durable: bool = opt(True, doc="what is set outlives a power failure; else only the death of processes")


class StateStorage:
    """Values by key: text or a number, 1 and 1.0 being one key and 1 and "1" two.

    A value is anything that JSON can hold but null; each call gives a new copy. Methods may be called in any
    thread.
    """

    def __init__(self, config: StateStorageConfig) -> None:
        """Open the file, and make it if there is none.

        Raises:
            OperationError: It can not be opened, or is no such file.
        """
        path = Path(config.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            with _alone(path):  # SQLite does not wait when two change to WAL at once
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if config.durable else 'NORMAL'}")
                self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise OperationError(f"state can not be kept in {path}: {error}") from error
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, bytes | None] = OrderedDict()
        self._cache_size = config.cache_size
        self._version = -1

    def get(self, key: Key) -> Any:
        """The value of a key, or None."""
        return self.mget((key,)).get(key)

    def mget(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """The values of those of the keys that have one, in the order of the keys."""
        texts = {key: _text(key) for key in keys}
        with self._lock:
            self._forget_stale()
            found = {}
            missing = []
            for text in texts.values():
                if text in self._cache:
                    self._cache.move_to_end(text)
                    found[text] = self._cache[text]
                else:
                    missing.append(text)
            if missing:
                rows = dict(self._connection.execute(_GET, (_encode(missing).decode(),)))
                fresh = {text: rows.get(text) for text in missing}
                found |= fresh
                self._remember(fresh)
        return {key: _decode(value) for key, text in texts.items() if (value := found[text]) is not None}

    def set(self, key: Key, value: Any) -> None:
        """Set the value of a key; see `mset`."""
        self.mset({key: value})

    def mset(self, values: Mapping[Key, Any]) -> None:
        """Set values, all or none; other workers see them at once, also when the attempt fails afterwards.

        Raises:
            ValueError: A key or a value can not be one.
        """
        rows = {_text(key): _value(value) for key, value in values.items()}
        with self._lock, self._transaction():
            self._connection.executemany(_SET, rows.items())
            self._remember(rows)

    def delete(self, keys: Key | Iterable[Key]) -> None:
        """Remove one key or several, all or none; what is not there is left alone."""
        if isinstance(keys, str | int | float):
            keys = (keys,)
        texts: dict[str, bytes | None] = {_text(key): None for key in keys}
        with self._lock, self._transaction():
            self._connection.executemany(_DELETE, [(text,) for text in texts])
            self._remember(texts)

    def count(self) -> int:
        """How many keys have a value."""
        with self._lock:
            (number,) = self._connection.execute("SELECT count(*) FROM state").fetchone()
        return int(number)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._forget_stale()  # nobody else writes from here on
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._cache.clear()
            raise
        self._connection.execute("COMMIT")

    def _forget_stale(self) -> None:
        """Empty the cache when another connection has written since the last look."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._cache.clear()

    def _remember(self, values: Mapping[str, bytes | None]) -> None:
        cache = self._cache
        for text, value in values.items():
            cache[text] = value
            cache.move_to_end(text)
        while len(cache) > self._cache_size:
            cache.popitem(last=False)


def _text(key: Key) -> str:
    is_number = isinstance(key, int | float) and not isinstance(key, bool) and math.isfinite(key)
    if not is_number and not (isinstance(key, str) and key):
        raise ValueError(f"{key!r} is no key: text that is not empty, or a number")
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return _encode(key).decode()


def _value(value: Any) -> bytes:
    if value is None:
        raise ValueError("null is no value: delete the key instead")
    try:
        return _encode(value)
    except TypeError as error:
        raise ValueError(f"a value must be one that JSON can hold: {error}") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that all who open the file take."""
    with path.with_name(path.name + "-lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@api("state_storage", config=StateStorageConfig)
class StateStorageApi(Api):
    """Keeps values by key in a SQLite file that all workers of a host share.

    `get_api` gives an object with `get(key)`, `mget(keys)`, `set(key, value)`, `mset(values)`, `delete(keys)`
    and `count()`. What one worker sets the others see at once, although each keeps values in memory. It is
    not undone when the attempt fails: a value that depends on the slice should have the slice's id in it, so
    that a retry knows its own. Workers on other hosts have a file of their own.
    """

    @override
    def initialize(self) -> None:
        self._storage = StateStorage(self.config)

    @override
    def create(self, *params: Any) -> StateStorage:
        return self._storage

    @override
    def shutdown(self) -> None:
        self._storage.close()
