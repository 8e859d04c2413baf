"""Files and documents that a call refers to, with the credentials that their servers ask for."""

from __future__ import annotations

from dataclasses import replace

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, credentials_of
from jobworkerp_standalone.workflow.calls.uris import uri_of
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.model.values import Resource
from jobworkerp_standalone.workflow.source import SourceError, SourceRules, read_source


async def resource_text(asking: Asking, resource: Resource, name: str) -> tuple[str, str]:
    """Return where a resource is, and its text.

    Raises:
        WorkflowError: it cannot be had, or may not be read.
    """
    uri = await uri_of(asking, resource.endpoint.uri, f"{name}/endpoint")
    credentials = await credentials_of(resource.endpoint.authentication, asking, f"{name}/endpoint/authentication")
    place = str(uri.value)
    return place, await source_text(asking, place, credentials, name)


async def source_text(asking: Asking, place: str, credentials: Credentials | None, name: str) -> str:
    """Return the text at a path or URL that the sources' rules allow.

    Raises:
        WorkflowError: it cannot be had, or may not be read.
    """
    try:
        return await read_source(place, _with(asking.run.tools.sources, credentials))
    except SourceError as error:
        raise Standard.COMMUNICATION.error("A resource cannot be read", str(error)).at(asking.pointer(name)) from error


def _with(rules: SourceRules, credentials: Credentials | None) -> SourceRules:
    if credentials is None:
        return rules
    headers = () if credentials.header is None else (("Authorization", credentials.header),)
    user = credentials.digest
    digest = (user.name, user.password) if user is not None else None
    return replace(rules, fetch=replace(rules.fetch, headers=headers, digest=digest, identity=credentials.identity))
