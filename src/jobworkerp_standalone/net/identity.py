"""Client certificates."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_WHY: Final = {"KEY_VALUES_MISMATCH": "the key does not belong to the certificate"}


class BadIdentity(ValueError):
    """Certificate and key cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate: PEM texts."""

    certificate: str = field(repr=False)
    """Those between it and the authority may follow."""
    key: str = field(default="", repr=False)
    """Empty: it stands behind the certificate."""
    password: str = field(default="", repr=False)
    """Opens the key, where it is encrypted."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have connections show it. Blocks: the library reads files only.

        Raises:
            BadIdentity: it cannot be used.
        """
        key = self.key or self.certificate
        self._check(key)
        with tempfile.TemporaryDirectory(prefix="jobworkerp-") as folder:  # for our eyes only
            paths = [Path(folder, name) for name in ("certificate.pem", "key.pem")]
            for path, text in zip(paths, (self.certificate, key), strict=True):
                path.write_text(text, encoding="utf-8")
            try:
                # A password in any case: without one the library asks for it at the terminal.
                context.load_cert_chain(paths[0], paths[1], password=self.password)
            except ssl.SSLError as error:
                raise BadIdentity(_WHY.get(error.reason or "", self._unread(key))) from error
            except (OSError, ValueError) as error:
                raise BadIdentity(str(error)) from error

    def _check(self, key: str) -> None:
        if "-----BEGIN CERTIFICATE-----" not in self.certificate:
            raise BadIdentity("certificate is no PEM text: it has no -----BEGIN CERTIFICATE-----")
        if "PRIVATE KEY-----" not in key:
            raise BadIdentity("key is no PEM text: it has no -----BEGIN PRIVATE KEY-----")
        if "ENCRYPTED" in key and not self.password:
            raise BadIdentity("the key is encrypted: give its password")

    def _unread(self, key: str) -> str:
        if "ENCRYPTED" in key:
            return "the password does not open the key, or certificate or key is damaged"
        return "certificate or key is damaged"
