"""Files and documents that a call refers to, with the credentials that their servers ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus

from jobworkerp_standalone.jobs.errors import FetchError
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, credentials_of, renewed
from jobworkerp_standalone.workflow.calls.uris import uri_of
from jobworkerp_standalone.workflow.model.values import Resource
from jobworkerp_standalone.workflow.source import DOCUMENTS, SourceError, SourceRules, read_source


async def resource_text(asking: Asking, resource: Resource, name: str, endings: Collection[str]) -> tuple[str, str]:
    """Return where a resource is, and its text; the name of a file has one of the endings.

    Raises:
        WorkflowError: it cannot be had, or may not be read.
    """
    uri = await uri_of(asking, resource.endpoint.uri, f"{name}/endpoint")
    credentials = await credentials_of(resource.endpoint.authentication, asking, f"{name}/endpoint/authentication")
    place = str(uri.value)
    return place, await source_text(asking, place, credentials, name, endings)


async def source_text(
    asking: Asking, place: str, credentials: Credentials | None, name: str, endings: Collection[str] = DOCUMENTS
) -> str:
    """Return the text at a path or URL that the sources' rules allow.

    Raises:
        WorkflowError: it cannot be had, or may not be read.
    """
    rules = asking.run.tools.sources
    try:
        try:
            return await read_source(place, _with(rules, credentials), endings)
        except SourceError as error:
            others = await renewed(credentials, asking) if _is_refused(error) else None
            if others is None:
                raise
        return await read_source(place, _with(rules, others), endings)
    except SourceError as error:
        raise error.told("A resource cannot be read").at(asking.pointer(name)) from error


def _is_refused(error: SourceError) -> bool:
    return isinstance(error.__cause__, FetchError) and error.__cause__.status == HTTPStatus.UNAUTHORIZED


def _with(rules: SourceRules, credentials: Credentials | None) -> SourceRules:
    if credentials is None:
        return rules
    headers = () if credentials.header is None else (("Authorization", credentials.header),)
    user = credentials.digest
    digest = (user.name, user.password) if user is not None else None
    return replace(rules, fetch=replace(rules.fetch, headers=headers, digest=digest, identity=credentials.identity))
