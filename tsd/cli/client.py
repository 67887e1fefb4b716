"""A small client of the REST API for the command line: standard library only, one connection a request."""

import http.client
import json
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import attrs

from tsd.errors import TsdError

API_FILE = "api.json"
"""Where the master says in its data folder how to reach it: `{"url": ..., "pid": ...}`."""


class MasterUnreachable(TsdError):
    """Nothing answered at the master's address (it may be starting, or gone)."""


class ApiError(TsdError):
    """The master refused a request.

    Attributes:
        status: HTTP status code.
        message: What the master says about it.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


@attrs.frozen(kw_only=True)
class ApiFile:
    """The file in which a master of this host announces its address."""

    path: Path

    @classmethod
    def in_folder(cls, data_dir: Path) -> "ApiFile":
        """The file of the master that uses this data folder."""
        return cls(path=data_dir / API_FILE)

    def read_url(self) -> str | None:
        """The address, or None when no master has announced one (yet)."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return document.get("url") if isinstance(document, dict) else None

    def read_pid(self) -> int | None:
        """The process of the master that announced the address, or None as for `read_url`."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        pid = document.get("pid") if isinstance(document, dict) else None
        return pid if isinstance(pid, int) else None

    def remove(self) -> None:
        """Forget what an earlier master announced."""
        self.path.unlink(missing_ok=True)


class MasterClient:
    """Requests to one master.

    Args:
        url: Such as `http://127.0.0.1:5678`; the scheme and the port may be left out.
        timeout_s: Longest silence of the master in one request.

    Raises:
        TsdError: It is no such address.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(self.url)
            self._port = parts.port or 5678
        except ValueError as error:
            raise TsdError(f"{url} is no address such as http://127.0.0.1:5678: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise TsdError(f"{url} is no address such as http://127.0.0.1:5678")
        self._host = parts.hostname
        self._timeout_s = timeout_s

    def get(self, path: str) -> Any:
        """The JSON document at `path`.

        Raises:
            ApiError: The master refused.
            MasterUnreachable: Nothing answered.
        """
        return self._request("GET", path, None)

    def post(self, path: str, document: object = None) -> Any:
        """Post a document (or nothing) and return the answer; errors as `get`."""
        return self._request("POST", path, document)

    def delete(self, path: str) -> Any:
        """Delete what is at `path`; errors as `get`."""
        return self._request("DELETE", path, None)

    def upload(self, path: str, file: Path) -> tuple[int, Any]:
        """Post the bytes of a file; the status, which tells what was new, and the answer; errors as `get`.

        Raises:
            OSError: The file can not be read.
        """
        with file.open("rb") as content:
            headers = {"Content-Type": "application/octet-stream"}
            headers["Content-Length"] = str(file.stat().st_size)
            return self._exchange("POST", path, content, headers)

    def is_ready(self) -> bool:
        """Whether the master serves; never raises."""
        try:
            self.get("/ready")
        except MasterUnreachable:
            return False
        except ApiError as error:
            if error.status not in {404, 405}:
                return False
            try:  # a master without `/ready` serves when it answers anything
                self.get("/v1/cluster/state")
            except TsdError:
                return False
        return True

    def _request(self, method: str, path: str, document: object) -> Any:
        body = None if document is None else json.dumps(document).encode()
        return self._exchange(
            method, path, body, {} if body is None else {"Content-Type": "application/json"}
        )[1]

    def _exchange(
        self, method: str, path: str, body: bytes | IO[bytes] | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        headers = {"Accept": "application/json", "User-Agent": "tsd"} | headers
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise MasterUnreachable(f"{self.url} does not answer: {error}") from error
        finally:
            connection.close()
        try:
            content = json.loads(text) if text else None
        except ValueError:
            content = text
        if answer.status >= 400:
            raise ApiError(answer.status, _error_message(content, text))
        return answer.status, content


def _error_message(content: object, text: str) -> str:
    """What an error body says, in any of the shapes it has."""
    if isinstance(content, dict):
        for key in ("message", "error"):
            if isinstance(content.get(key), str):
                return str(content[key])
    return text[:1000]
