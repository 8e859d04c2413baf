"""Authentication policies, turned into what a request carries."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import cast

from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.identity import identity_of
from jobworkerp_standalone.workflow.calls.oauth import Grant, grant_of
from jobworkerp_standalone.workflow.calls.secrets import MASK
from jobworkerp_standalone.workflow.calls.tokens import Tokens
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.model.auth import Authentication, Basic, Bearer, Certificate, Digest
from jobworkerp_standalone.workflow.pointers import declared


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a password."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries."""

    scheme: str
    """``Basic``, ``Bearer``, ``Digest`` or ``Certificate``."""
    parameter: str = ""
    """What follows the scheme in the header; empty where there is none before the server asked."""
    digest: User | None = None
    identity: Identity | None = None
    """The client certificate."""
    grant: Grant | None = None
    """What the token was given for."""
    is_new: bool = True
    """The token was not in use before."""

    @property
    def header(self) -> str | None:
        """Return the value of the Authorization header; None where the server must be asked first, or none is sent."""
        return f"{self.scheme} {self.parameter}" if self.digest is None and self.identity is None else None


async def credentials_of(policy: Authentication | None, asking: Asking, name: str) -> Credentials | None:
    """Return what requests carry under a policy. They can be seen as ``$authorization`` from then on.

    Args:
        policy: the policy, if there is one.
        asking: the call.
        name: where the policy stands below ``with``.

    Raises:
        WorkflowError: a part of it fails or is missing, or no token could be had.
    """
    if policy is None:
        return None
    name = declared("authentications", policy.name, name)
    try:
        found = await _credentials(policy, asking, name)
    except WorkflowError as error:
        raise error.at(asking.pointer(name)) from error.__cause__
    for text in (found.parameter, found.digest.password if found.digest else ""):
        asking.revealed.add(text)
    asking.authorization = {"scheme": found.scheme, "parameter": found.parameter}
    asking.state.authorization = {"scheme": found.scheme, "parameter": MASK if found.parameter else ""}
    return found


async def renewed(refused: Credentials | None, asking: Asking) -> Credentials | None:
    """Return other credentials after a server refused these; None where there are none.

    A token that is refused is not used again. Only one that was in use before may have been revoked since; a new one
    would be refused like it.

    Raises:
        WorkflowError: no other token could be had.
    """
    if refused is None or refused.grant is None:
        return None
    asking.run.tools.host.shared(Tokens).forget(refused.grant, refused.parameter)
    return None if refused.is_new else await _granted(refused.grant, asking)


async def _credentials(policy: Authentication, asking: Asking, name: str) -> Credentials:
    if isinstance(policy, (Basic, Digest)):
        user = await _user(policy, asking, name)
        if isinstance(policy, Digest):
            return Credentials("Digest", digest=user)
        if ":" in user.name:
            raise Standard.CONFIGURATION.error("A user name cannot be sent", "with basic it must have no colon")
        return Credentials("Basic", b64encode(f"{user.name}:{user.password}".encode()).decode())
    if isinstance(policy, Bearer):
        return Credentials("Bearer", await _token(policy, asking, name))
    if isinstance(policy, Certificate):
        return Credentials("Certificate", identity=await identity_of(policy, asking, f"{name}/certificate"))
    return await _granted(await grant_of(policy, asking, f"{name}/{policy.kind}"), asking)


async def _granted(grant: Grant, asking: Asking) -> Credentials:
    token = await asking.run.tools.host.shared(Tokens).token(grant)
    asking.revealed.add(token.text)
    return Credentials("Bearer", token.text, grant=grant, is_new=token.is_new)


async def _user(policy: Basic | Digest, asking: Asking, name: str) -> User:
    kind = type(policy).__name__.lower()
    if policy.secret is not None:
        value = await asking.revealed.value(policy.secret)
        if not isinstance(value, dict) or not {"username", "password"} <= value.keys():
            raise Standard.CONFIGURATION.error(
                "A secret cannot be used", f"{policy.secret!r} must be a JSON object with username and password"
            )
        return User(str(value["username"]), str(value["password"]))
    username = await asking.plain(cast("Template", policy.username), f"{name}/{kind}/username")
    password = await asking.plain(cast("Template", policy.password), f"{name}/{kind}/password")
    return User(username, password)


async def _token(policy: Bearer, asking: Asking, name: str) -> str:
    if policy.secret is None:
        return await asking.plain(cast("Template", policy.token), f"{name}/bearer/token")
    value: JSON = await asking.revealed.value(policy.secret)
    if isinstance(value, dict):
        value = value.get("token")
    if not isinstance(value, str):
        raise Standard.CONFIGURATION.error(
            "A secret cannot be used", f"{policy.secret!r} must be a token, or a JSON object with a text 'token'"
        )
    return value
