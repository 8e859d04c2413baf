"""What is asked of other machines by HTTP, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import flag, number, patterns, setting, text


@dataclass(frozen=True, kw_only=True)
class NetSettings:
    """What is asked of other machines by HTTP, and within which limits."""

    url_fetch_deny_private: bool = setting(
        "URL_FETCH_DENY_PRIVATE",
        flag,
        False,
        "Refuse script, data and proto URLs, and redirects of theirs, that lead to addresses that are not public.",
    )
    url_fetch_allowed_hosts: tuple[str, ...] = setting(
        "URL_FETCH_ALLOWED_HOSTS",
        patterns,
        (),
        "Hosts that may be asked although URL_FETCH_DENY_PRIVATE is on; separated by commas.",
    )
    url_fetch_max_bytes: int = setting(
        "URL_FETCH_MAX_BYTES", number(1024), 64 * 1024 * 1024, "Largest script, data or proto text read from a URL."
    )
    url_fetch_timeout_sec: int = setting(
        "URL_FETCH_TIMEOUT_SEC", number(1, 86_400), 60, "Limit for reading a script, data or proto text from a URL."
    )
    http_response_max_bytes: int = setting(
        "HTTP_RESPONSE_MAX_BYTES",
        number(1024),
        64 * 1024 * 1024,
        "Largest answer to an HTTP_REQUEST in a result; more fails the job. Streams have no limit.",
    )
    slack_api_base_url: str = setting(
        "SLACK_API_BASE_URL", text, "https://slack.com/api/", "Where SLACK_POST_MESSAGE finds the API of Slack."
    )
