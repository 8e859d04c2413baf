"""One request to Slack, in whatever thread it is made, and what its failures mean."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final, Protocol, cast
from urllib.error import URLError
from urllib.request import Request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.runners.slack.line import Line

_SILENT: Final = logging.getLogger(f"{__name__}.sdk")
_SILENT.setLevel(logging.CRITICAL + 1)  # the library would log messages and whole answers
_TOKEN_ERRORS: Final = frozenset(
    {
        "access_denied",
        "account_inactive",
        "enterprise_is_restricted",
        "invalid_auth",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "not_authed",
        "org_login_required",
        "team_access_not_granted",
        "token_expired",
        "token_revoked",
        "two_factor_setup_required",
    }
)
_PASSING_ERRORS: Final = frozenset(
    {"fatal_error", "internal_error", "ratelimited", "rate_limited", "request_timeout", "service_unavailable"}
)
_ERROR_NAME: Final = re.compile(r"[a-z0-9_]+")
_RATE_LIMITS: Final = frozenset({"ratelimited", "rate_limited"})
_DEFAULT_WAIT_SEC: Final = 1.0


class _Response(Protocol):
    """``SlackResponse``, which is not typed all over."""

    status_code: int
    headers: Mapping[str, str]
    data: object


class _Client(Protocol):
    """``WebClient``."""

    def api_call(self, api_method: str, *, json: dict[str, Any]) -> _Response: ...


class RateLimited(Retryable):
    """Slack wants to be left alone for ``wait_sec``."""

    def __init__(self, wait_sec: float) -> None:
        super().__init__(f"Slack allows no further message for {wait_sec:g} s (rate limit)")
        self.wait_sec = wait_sec


class Poster:
    """Posts with one token.

    Args:
        token: of the bot.
        base_url: where Slack's API is.
        proxy: on the way there; None: the way is direct.
        tls: what connections are checked against.
    """

    def __init__(self, token: str, base_url: str, proxy: str | None, tls: ssl.SSLContext) -> None:
        self._token = token
        self._base_url = base_url
        self._proxy = proxy
        self._tls = tls

    def post(self, message: Mapping[str, Any], timeout_sec: float, line: Line) -> dict[str, Any]:
        """Post and return Slack's answer. Blocks until then, or until ``line`` is hung up.

        Raises:
            JobError: it was not posted, or nobody knows.
        """
        try:
            client = cast("_Client", self._client(timeout_sec, line))
            answer = client.api_call("chat.postMessage", json=dict(message)).data
        except SlackApiError as error:
            raise _refusal(error) from error
        except TimeoutError as error:
            raise Retryable(f"timeout: Slack did not answer within {timeout_sec:g} s") from error
        except (URLError, HTTPException, OSError) as error:
            raise Retryable(f"Slack could not be reached: {getattr(error, 'reason', None) or error}") from error
        except (SlackClientError, ValueError, LookupError, AttributeError) as error:
            raise Retryable(f"Slack's answer could not be read: {error}") from error
        return dict(_object(answer))

    def _client(self, timeout_sec: float, line: Line) -> WebClient:
        """Return a client for one call, because the time limit belongs to the client."""
        client = _OneCall(self._token, self._base_url, ssl=self._tls, logger=_SILENT, retry_handlers=[])
        client.timeout = timeout_sec  # type: ignore[assignment] - parts of a second are fine
        client.proxy = self._proxy  # the library's own look at the environment passes over NO_PROXY
        client.line = line
        return client


class _OneCall(WebClient):
    """The library's client, whose request goes over a line that can be hung up."""

    line: Line

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        del url  # that of the request
        assert self.ssl is not None
        try:
            with self.line.open(req, self.timeout, self.proxy, self.ssl) as answer:
                charset = answer.headers.get_content_charset() or "utf-8"
                return {"status": answer.status, "headers": answer.headers, "body": answer.read().decode(charset)}
        finally:
            self.line.done()


def _refusal(error: SlackApiError) -> JobError:
    """Return what an answer that is not ok means for the job."""
    response: _Response = cast("Any", error).response
    status, data = response.status_code, _object(response.data)
    reason = str(data.get("error", ""))
    if status == HTTPStatus.TOO_MANY_REQUESTS or reason in _RATE_LIMITS:
        return RateLimited(_wait(response.headers))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or reason in _PASSING_ERRORS:
        return Retryable(f"Slack could not post the message (status {status}): {reason}")
    if not _ERROR_NAME.fullmatch(reason):
        unread = f"Slack's answer (status {status}) could not be read"
        wrong = status != HTTPStatus.OK
        return BadInput(f"{unread}; check SLACK_API_BASE_URL") if wrong else Retryable(unread)
    if reason in _TOKEN_ERRORS:
        needed = f", needed is {data['needed']}" if data.get("needed") else ""
        return Fatal(f"Slack does not accept the token: {reason}{needed}; correct bot_token in the worker's settings")
    details = _object(data.get("response_metadata")).get("messages")
    more = f" ({details})" if details else ""
    return BadInput(f"Slack refused the message: {reason}{more}; correct the args")


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _wait(headers: Mapping[str, str]) -> float:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                break
    return _DEFAULT_WAIT_SEC
