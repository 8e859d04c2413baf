"""Proxies, as the environment names them: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``."""

from __future__ import annotations

from typing import Self
from urllib.request import getproxies_environment, proxy_bypass

import httpx


class Proxies:
    """What the environment says, read once."""

    def __init__(self, named: dict[str, str]) -> None:
        self._named = named

    @classmethod
    def of_environment(cls) -> Self:
        """Read the environment."""
        return cls(getproxies_environment())

    def between(self, url: httpx.URL) -> str | None:
        """Return the proxy on the way to a URL, if there is one."""
        found = self._named.get(url.scheme) or self._named.get("all")
        if not found or proxy_bypass(url.netloc.decode("ascii"), self._named):
            return None
        return found if "://" in found else f"http://{found}"
