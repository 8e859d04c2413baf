"""What may be fetched for whom, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from jobworkerp_standalone.net.identity import Identity
from jobworkerp_standalone.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """Limits of one fetch, and the hosts that may be asked."""

    deny_private: bool = False
    """Every host asked, those of redirects too, must be at public addresses."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names or addresses, in lower case, that ``deny_private`` leaves alone."""
    max_bytes: int = 64 * 1024 * 1024
    """Of the body, unpacked."""
    connect_timeout_sec: float = 10.0
    timeout_sec: float = 60.0
    """For everything, redirects and further attempts included."""
    max_redirects: int = 5
    attempts: int = 1
    """How often in all, where the failure may pass."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent besides the usual ones, to the host of the URL alone: a redirect elsewhere does not get them."""
    user_agent: str = ""
    """Who is said to ask, redirects included; empty: this program."""
    digest: tuple[str, str] | None = field(default=None, repr=False)
    """User and password, where the host of the URL asks for them (RFC 7616)."""
    identity: Identity | None = field(default=None, repr=False)
    """A client certificate, shown to the host of the URL alone."""

    @classmethod
    def of(cls, settings: Settings, *, attempts: int = 1) -> Self:
        """Return the rules for what jobs name: scripts, data, proto texts."""
        return cls(
            deny_private=settings.url_fetch_deny_private,
            allowed_hosts=frozenset(host.lower() for host in settings.url_fetch_allowed_hosts),
            max_bytes=settings.url_fetch_max_bytes,
            timeout_sec=settings.url_fetch_timeout_sec,
            attempts=attempts,
        )

    def narrowed(self, *, max_bytes: int, timeout_sec: float, headers: tuple[tuple[str, str], ...] = ()) -> Self:
        """Return these rules with lower limits, and headers of the caller's own."""
        return replace(
            self,
            max_bytes=min(self.max_bytes, max_bytes),
            timeout_sec=min(self.timeout_sec, timeout_sec),
            headers=headers,
        )
