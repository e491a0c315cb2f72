"""Whom this machine trusts over TLS."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return the one context of all clients that trust what httpx trusts by itself.

    To read the certificates takes some 20 ms of a core, in which nobody else is served: once for
    each customer's monitor would be felt.
    """
    return httpx.create_ssl_context()
