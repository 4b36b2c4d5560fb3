"""Names and addresses in a request: to be compared, to be told, to be logged.

Knows HTTP's ways to write them. Does not know which are admitted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]


def host_name(address: str) -> str:
    """Return the name within "//host:port" or an origin, "" where there is none."""
    with suppress(ValueError):
        name = urlsplit(address).hostname or ""
        return f"[{name}]" if ":" in name else name.rstrip(".")
    return ""


def bound(scope: Scope) -> str:
    """Return this end of the connection, which no name of elsewhere can stand for."""
    address = (scope.get("server") or ("", 0))[0]
    with suppress(ValueError):
        return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    return ""


def visitor_at(address: str) -> str:
    """Return by what a visitor is known: an address, of IPv6 the network that is one customer's."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address)
        if found.version == 6 and not found.ipv4_mapped:
            return str(ipaddress.ip_network((int(found), 64), strict=False))
        return str(getattr(found, "ipv4_mapped", None) or found)
    return address


def shown(text: str) -> str:
    """Return a host's name as it may stand in a sentence."""
    return re.sub(r"[^\w.:\[\]-]", "?", text)[:80] or "it was asked by"


def route(scope: Scope) -> str:
    """Return the beginning of a path, which holds nothing of a visitor's, for the log."""
    found = re.match(r"/(?:gradio_api/)?[a-z_0-9]{0,20}", scope["path"])
    return found[0] if found else "/"
