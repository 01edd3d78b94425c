"""The form of keys, and their hashes. A typing error is seen without asking any store; a stolen table opens nothing.

`sk-wb-ID-SECRETCHECK`: 8 characters of id, 43 of secret (256 bits), 6 of CRC-32, all base 62. Operators' keys begin
with their role: `wb-admin-...`, `wb-finance-...`.
"""

import hashlib
import hmac
import os
import re
import secrets
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from gateway.config import Keys, read_secret
from gateway.errors import ConfigError

Prefix = Literal["sk-wb", "wb-admin", "wb-finance"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS = 8
_SECRET_CHARS = 43
_CHECK_CHARS = 6
_MIN_PEPPER_BYTES = 32
_FORM = re.compile(
    rf"(?P<prefix>sk-wb|wb-admin|wb-finance)-(?P<id>[0-9A-Za-z]{{{_ID_CHARS}}})"
    rf"-[0-9A-Za-z]{{{_SECRET_CHARS}}}(?P<check>[0-9A-Za-z]{{{_CHECK_CHARS}}})"
)


class Issued(msgspec.Struct, frozen=True):
    """A new key. Its text is shown once and kept nowhere."""

    id: str
    text: str
    digest: str


class Credentials:
    def __init__(self, pepper: bytes, *, randbelow: Callable[[int], int] = secrets.randbelow) -> None:
        """Keys are random, so that one HMAC is enough: a slow hash would let strangers keep the machine busy."""
        self._pepper = pepper
        self._randbelow = randbelow

    @property
    def fingerprint(self) -> str:
        """Tells whether two peppers are the same without telling what they are."""
        return self.digest("fingerprint of the pepper")

    def issue(self, prefix: Prefix) -> Issued:
        key_id = self._random(_ID_CHARS)
        body = f"{prefix}-{key_id}-{self._random(_SECRET_CHARS)}"
        text = body + _check(body)
        return Issued(key_id, text, self.digest(text))

    def digest(self, text: str) -> str:
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).hexdigest()

    def salt(self, tenant: str) -> str:
        """The same after every start and in all gateways with this pepper; nobody without it can guess one."""
        return self.digest(f"salt of the prompts of {tenant}")

    def matches(self, text: str, digest: str | None) -> bool:
        """None, for an id that nobody has, takes as long as a wrong key."""
        is_equal = hmac.compare_digest(self.digest(text), digest or "0" * 64)
        return is_equal and digest is not None

    def _random(self, chars: int) -> str:
        return "".join(_ALPHABET[self._randbelow(len(_ALPHABET))] for _ in range(chars))


def key_id(text: str, *prefixes: Prefix) -> str | None:
    """The id in a key that is well-formed, of one of these kinds, and free of typing errors."""
    match = _FORM.fullmatch(text)
    if match is None or match["prefix"] not in prefixes:
        return None
    return match["id"] if _check(text[:-_CHECK_CHARS]) == match["check"] else None


def load_pepper(
    keys: Keys, secrets_folder: Path, *, token_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> bytes:
    """The secret in every key's hash: from where the configuration says, else from a file of our own, made when
    absent. Raises ConfigError."""
    named = read_secret(env=keys.pepper_env, file=keys.pepper_file, where="keys")
    if named:
        return _decode(named, "keys.pepper_env" if keys.pepper_env else "keys.pepper_file")
    path = secrets_folder / "pepper"
    try:
        if not path.exists():
            _create(path, token_bytes(_MIN_PEPPER_BYTES).hex())
        return _decode(path.read_text(encoding="ascii").strip(), str(path))
    except OSError as exc:
        raise ConfigError(f"keys: cannot keep the pepper in {path}: {exc.strerror}") from exc


def _create(path: Path, text: str) -> None:
    """Whole or not at all, for its owner only; if another process is quicker, its file stands."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _decode(text: str, where: str) -> bytes:
    try:
        pepper = bytes.fromhex(text)
    except ValueError as exc:
        raise ConfigError(
            f"{where}: the pepper is not hexadecimal; `openssl rand -hex 32` makes one"
        ) from exc
    if len(pepper) < _MIN_PEPPER_BYTES:
        raise ConfigError(
            f"{where}: the pepper is {len(pepper)} bytes long; it needs {_MIN_PEPPER_BYTES} or more"
        )
    return pepper


def _check(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
