"""Client certificates of authentication policies."""

from __future__ import annotations

import re
from typing import Final

import anyio.to_thread

from jobworkerp_standalone.net.identity import BadIdentity, Identity
from jobworkerp_standalone.net.tls import tls_of
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.secrets import MASK
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.model.auth import Certificate
from jobworkerp_standalone.workflow.source import SourceError, read_source

_PEM: Final = "-----BEGIN "
_CERTIFICATES: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


async def identity_of(policy: Certificate, asking: Asking, name: str) -> Identity:
    """Return the certificate, with its files read.

    Raises:
        WorkflowError: a part of it fails, a file may not be read, or key and certificate do not belong together.
    """
    parts = await (
        _of_secret(policy.secret, asking) if policy.secret is not None else _of_members(policy, asking, name)
    )
    if password := parts.get("password", ""):
        asking.revealed.add(password)
    certificate = await _pem(parts["certificate"], asking)
    key = await _pem(parts.get("key", ""), asking) or certificate
    asking.revealed.add(key)
    identity = Identity("".join(_CERTIFICATES.findall(certificate)) or certificate, key, password)
    try:
        await anyio.to_thread.run_sync(tls_of, identity)
    except BadIdentity as error:
        raise Standard.CONFIGURATION.error("A certificate cannot be used", str(error)) from error
    return identity


def check_https(url: str, pointer: str) -> None:
    """Look whether a certificate can be shown at a URL.

    Raises:
        WorkflowError: it cannot.
    """
    if not url.lower().startswith("https:"):
        raise Standard.CONFIGURATION.error(
            "An authentication policy cannot be used", "a certificate is shown over https only"
        ).at(pointer)


def masked(identity: Identity | None) -> Identity | None:
    """Return what others may see of a certificate: not its key."""
    return None if identity is None else Identity(identity.certificate, MASK, MASK)


def fields_of(identity: Identity | None) -> dict[str, str] | None:
    """Return a certificate as it stands in the args of a runner."""
    if identity is None:
        return None
    return {"certificate": identity.certificate, "key": identity.key, "password": identity.password}


async def _of_members(policy: Certificate, asking: Asking, name: str) -> dict[str, str]:
    members = (("certificate", policy.certificate), ("key", policy.key), ("password", policy.password))
    return {key: await asking.plain(template, f"{name}/{key}") for key, template in members if template is not None}


async def _of_secret(secret: str, asking: Asking) -> dict[str, str]:
    value = await asking.revealed.value(secret)
    if isinstance(value, str):
        return {"certificate": value}
    found = value if isinstance(value, dict) else {}
    if not isinstance(found.get("certificate"), str):
        raise Standard.CONFIGURATION.error(
            "A secret cannot be used",
            f"{secret!r} must be certificate and key as PEM, or a JSON object with certificate, key and password",
        )
    return {key: text for key, text in found.items() if isinstance(text, str)}


async def _pem(given: str, asking: Asking) -> str:
    """Return a PEM text: what is given, or what is in the file of that name."""
    if not given or _PEM in given:
        return given
    try:
        return await read_source(given, asking.run.tools.sources)
    except SourceError as error:
        raise error.told("A certificate cannot be read") from error
