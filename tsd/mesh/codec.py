"""Messages to frames and back.

A message is two frames, `[kind][body]`: `kind` is a short ASCII name that picks the class, `body` is the
MessagePack of the attrs object. msgspec checks types and runs attrs validators while it decodes. It
can not forbid unknown keys of attrs classes: they are ignored, so a newer peer may add a field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from tsd.errors import LocalWireError, RemoteWireError

KIND_LENGTH_MAX = 32
BODY_BYTES_MAX = 32 * 1024 * 1024
"""Room for a request, the largest that there may be, with the letters and the error of its slice and
others."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)
"""What msgspec and attrs validators raise for bytes that are not the wanted object."""


class Codec:
    """Encodes the messages of one side of a link and decodes those of the other; holds no other state.

    Attributes:
        body_bytes_max: Largest body either way, in bytes.
    """

    def __init__(
        self,
        reads: Mapping[str, type],
        writes: Mapping[str, type] | None = None,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        """Build one decoder a class that is read.

        Args:
            reads: Class of each kind that is decoded; no class twice.
            writes: Class of each kind that is encoded; those of `reads` when left out.
            body_bytes_max: Largest body either way, in bytes.

        Raises:
            LocalWireError: A kind is not short ASCII, or a class is there twice or can not be decoded.
        """
        self.body_bytes_max = body_bytes_max
        self._encoder = msgspec.msgpack.Encoder()
        read_kinds = _kinds_of(reads)
        self._kinds = read_kinds if writes is None else _kinds_of(writes)
        self._decoders: dict[bytes, msgspec.msgpack.Decoder[Any]] = {}
        for kind, message_class in reads.items():
            try:
                decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
                    message_class, ext_hook=_refuse_extension
                )
            except TypeError as error:
                raise LocalWireError(f"{message_class.__name__} can not be decoded: {error}") from error
            self._decoders[kind.encode()] = decoder

    def encode(self, message: object) -> list[bytes]:
        """Return `[kind, body]`; what has no form in UTF-8 in its texts is shown as an escape.

        Raises:
            LocalWireError: The class is not registered, a value has no MessagePack form, or the body
                is too big.
        """
        kind = self._kinds.get(type(message))
        if kind is None:
            raise LocalWireError(f"{type(message).__name__} is no message of this link")
        try:
            body = self._encode(message)
        except _UNREADABLE as error:
            raise LocalWireError(f"{type(message).__name__} can not be encoded: {error}") from error
        if len(body) > self.body_bytes_max:
            raise LocalWireError(
                f"{type(message).__name__} has {len(body)} bytes, and a message at most {self.body_bytes_max}"
            )
        return [kind, body]

    def _encode(self, message: object) -> bytes:
        try:
            return self._encoder.encode(message)
        except UnicodeEncodeError:
            return self._encoder.encode(_in_whole_characters(message))

    def decode(self, frames: Sequence[bytes]) -> object:
        """Return the message that the frames stand for.

        Raises:
            RemoteWireError: Wrong number of frames, unknown kind, too big, not MessagePack, or not
                the fields and types of the class.
        """
        if len(frames) != 2:
            raise RemoteWireError(f"{len(frames)} frames where 2 belong")
        kind, body = frames
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise RemoteWireError(f"{_shown(kind)} is no kind of this link")
        if len(body) > self.body_bytes_max:
            raise RemoteWireError(f"{kind.decode()} has {len(body)} bytes, too many")
        try:
            return decoder.decode(body)
        except _UNREADABLE as error:
            raise RemoteWireError(f"{kind.decode()} can not be read: {error}") from error


def _kinds_of(registry: Mapping[str, type]) -> dict[type, bytes]:
    kinds: dict[type, bytes] = {}
    for kind, message_class in registry.items():
        if not (kind.isascii() and kind.isprintable() and 0 < len(kind) <= KIND_LENGTH_MAX):
            raise LocalWireError(f"kind {kind!r} is not short printable ASCII")
        if message_class in kinds:
            raise LocalWireError(f"{message_class.__name__} has two kinds")
        kinds[message_class] = kind.encode()
    return kinds


def _shown(kind: bytes) -> str:
    return repr(kind[:KIND_LENGTH_MAX]).removeprefix("b")


def _in_whole_characters(message: object) -> Any:
    """What the message is encoded from, with lone surrogates in its texts as escapes.

    File names that are no UTF-8 have them, and so has what user code says of such files. They have no form in
    UTF-8, and a text that looks odd is better than a message that can not be sent.
    """
    return _cleaned(msgspec.to_builtins(message, builtin_types=(bytes,), str_keys=False))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value


def _refuse_extension(code: int, _data: memoryview) -> NoReturn:
    raise ValueError(f"MessagePack extension {code} is not used here")
