"""A picture from an address on the web, fetched so that it can only come from the public internet.

Knows addresses, redirects, certificates and time. Does not know picture formats (``images`` does),
and never uses the proxies, cookies or credentials of the machine it runs on.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urljoin

import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import parse_url

from florence_demo.errors import InputError
from florence_demo.machine import is_offline
from florence_demo.pictures.images import LIMITS, ImageLimits, too_many_bytes
from florence_demo.pictures.room import ROOM

logger = logging.getLogger(__name__)

Resolver = Callable[..., list[Any]]

_OFFLINE = "This server has no connection out: save the picture and upload the file instead."
_TOO_SLOW = "The server took too long: save the picture and upload the file instead."
_UNREACHABLE = "{} could not be reached: check the address, or upload the file instead."
_INCOMPLETE = "This is not a complete web address: check it."
_MAX_ADDRESS, _MAX_HOST = 8_000, 253  # of a host: RFC 1035, in its written form
_MAX_TRIED = 4
# look-ups at a time, those included whose fetch has given them up
_LOOK_UPS = threading.BoundedSemaphore(32)


@dataclass(frozen=True)
class FetchLimits:
    """Hold how long a stranger's server may keep us.

    Attributes:
        connect_timeout: Seconds to reach a server.
        read_timeout: Seconds a server may be silent.
        total_seconds: Seconds a fetch may take altogether, redirects included.
        max_redirects: Redirects followed, each checked like the first address.
        image: What the picture itself may cost.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    total_seconds: float = 10.0
    max_redirects: int = 5
    image: ImageLimits = LIMITS


FETCH_LIMITS = FetchLimits()


def is_url(text: str) -> bool:
    """Tell whether a text is an address for ``fetch_image`` rather than a path."""
    return text.strip().lower().startswith(("http://", "https://"))


def fetch_image(
    url: str,
    *,
    limits: FetchLimits = FETCH_LIMITS,
    resolver: Resolver = socket.getaddrinfo,
    allowed: Callable[[str], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Image.Image:
    """Fetch a picture from a public address of the web.

    Every address the host name resolves to is checked, and the connection goes to a checked
    address itself, so that a second answer of the name server cannot lead elsewhere. Proxies and
    credentials of the environment are not used. Only the name server's own time is not limited.

    Args:
        url: An http or https address.
        limits: What the picture and the fetching may cost.
        resolver: Stands in for ``socket.getaddrinfo``.
        allowed: Says whether an address may be connected to; ``is_public`` by default.
        clock: Seconds that only grow.

    Raises:
        InputError: The address is not http(s), not public, not reachable, too slow, or what it
            serves is not a picture within the limits.
    """
    if is_offline():
        raise InputError(_OFFLINE)
    fetch = _Fetch(limits, resolver, allowed or is_public, clock)
    return ROOM.open(fetch.get(url.strip()), limits=limits.image)


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    Args:
        address: An IPv4 or IPv6 address as text; a zone such as ``%eth0`` is never public.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.scope_id is not None or ip.teredo is not None or ip.is_site_local:
            return False
    refused = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast
    return ip.is_global and not (
        refused or ip.is_reserved or ip.is_unspecified or str(ip) in _CLOUD_INTERNAL
    )


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_CLOUD_INTERNAL = {"168.63.129.16"}  # a cloud's host service behind an address that looks public


class _Fetch:
    """Follow one address to its bytes: every hop checked, pinned and on the same clock."""

    def __init__(
        self,
        limits: FetchLimits,
        resolver: Resolver,
        allowed: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self.limits, self.resolver, self.allowed, self.clock = limits, resolver, allowed, clock
        self.deadline = clock() + limits.total_seconds
        self.sockets: list[socket.socket] = []
        self.aborted = False

    def get(self, url: str) -> bytes:
        """Return the body behind an address, following redirects by hand."""
        # timeouts count silence only: this one also ends a server that sends a byte now and then
        watch = threading.Timer(self.limits.total_seconds, self._abort)
        watch.daemon = True
        watch.start()
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxies, no .netrc
                return self._follow(session, url)
        finally:
            watch.cancel()

    def _follow(self, session: requests.Session, url: str) -> bytes:
        for _ in range(self.limits.max_redirects + 1):
            request, host = _prepare(session, url)
            with self._send(session, request, host) as response:
                target = session.get_redirect_target(response)
                if target is None:
                    return self._body(response, host)
                url = urljoin(str(request.url), target)
        raise InputError("This address redirects too often: use the picture's own address.")

    def _look_up(self, host: str) -> list[Any]:
        """Ask the resolver, which knows no time limit, in a thread that can be left behind."""
        answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self.resolver(host, None, type=socket.SOCK_STREAM))
            except Exception as exc:  # raised again below, where somebody waits
                answers.put(exc)
            finally:
                _LOOK_UPS.release()

        if not _LOOK_UPS.acquire(timeout=self._seconds_left()):
            raise InputError(_TOO_SLOW)
        threading.Thread(target=ask, daemon=True).start()
        try:
            found = answers.get(timeout=self._seconds_left())
        except queue.Empty:
            raise InputError(_TOO_SLOW) from None
        if isinstance(found, Exception):
            raise found
        return found

    def _resolve(self, host: str) -> list[str]:
        """Return the addresses of a host, once all of them are known to be public."""
        try:
            found = self._look_up(host)
        except (OSError, UnicodeError) as exc:
            raise InputError(_UNREACHABLE.format(host)) from exc
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses:
            raise InputError(_UNREACHABLE.format(host))
        if not all(self.allowed(address) for address in addresses):
            logger.warning("Refused to fetch a picture from %s: not public", host)
            raise InputError(f"{host} is not a public address: upload the file instead.")
        return addresses

    def _send(self, session: requests.Session, request: Any, host: str) -> requests.Response:
        """Return the response of the first address that answers, its body unread."""
        for address in self._resolve(host)[:_MAX_TRIED]:
            left = self._seconds_left()
            adapter = _PinnedAdapter(host, address, self._note)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            # connecting waits twice: for the host, and for its certificate
            connect = min(self.limits.connect_timeout, left / 2)
            timeout = (connect, min(self.limits.read_timeout, left))
            try:
                return session.send(request, stream=True, timeout=timeout, allow_redirects=False)
            except requests.exceptions.SSLError as exc:
                raise InputError(
                    f"The certificate of {host} could not be verified: upload the file instead."
                ) from exc
            except requests.ReadTimeout as exc:
                raise InputError(_TOO_SLOW) from exc
            except (requests.RequestException, OSError, ValueError):
                logger.debug("%s of %s could not be asked", address, host, exc_info=True)
        self._seconds_left()
        raise InputError(_UNREACHABLE.format(host))

    def _body(self, response: requests.Response, host: str) -> bytes:
        """Read an answer piece by piece, as far as size and time allow."""
        if response.status_code != 200:
            raise InputError(
                f"{host} answered {response.status_code} for this address: open it in a browser "
                "to check it, or upload the file instead."
            )
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self.limits.image.max_bytes:
            raise InputError(too_many_bytes(self.limits.image))
        body = bytearray()
        try:
            # read1 returns what has arrived; read would wait for a whole piece past the deadline
            while piece := response.raw.read1(65536, decode_content=False):
                self._seconds_left()
                body += piece
                if len(body) > self.limits.image.max_bytes:
                    raise InputError(too_many_bytes(self.limits.image))
        except (HTTPError, HTTPException, OSError, ValueError) as exc:
            self._seconds_left()
            if isinstance(exc, ReadTimeoutError | TimeoutError):
                raise InputError(_TOO_SLOW) from exc
            raise InputError(f"{host} broke off: try again, or upload the file instead.") from exc
        self._seconds_left()
        return bytes(body)

    def _seconds_left(self) -> float:
        left = self.deadline - self.clock()
        if left <= 0 or self.aborted:
            raise InputError(_TOO_SLOW)
        return left

    def _note(self, connected: socket.socket) -> None:
        self.sockets.append(connected)
        if self.aborted:  # it was connected a moment too late for the watch to end it
            self._abort()

    def _abort(self) -> None:
        self.aborted = True
        for connected in tuple(self.sockets):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it


def _prepare(session: requests.Session, url: str) -> tuple[Any, str]:
    """Check how an address is written; return the request for it and its host."""
    if len(url) > _MAX_ADDRESS:
        raise InputError("This web address is too long: upload the file instead.")
    if not is_url(url):
        raise InputError("A picture's address starts with http:// or https://.")
    # no compression, so that the size limit counts what is kept
    headers = {"User-Agent": "florence-demo", "Accept": "image/*", "Accept-Encoding": "identity"}
    try:
        request = session.prepare_request(requests.Request("GET", url, headers=headers))
        parts = parse_url(str(request.url))
    except (ValueError, HTTPError, requests.RequestException) as exc:
        raise InputError(_INCOMPLETE) from exc
    if parts.auth is not None or "Authorization" in request.headers:
        raise InputError("An address with a name or password is not used: upload the file.")
    if not parts.host or not parts.netloc or len(parts.host) > _MAX_HOST:
        raise InputError(_INCOMPLETE)
    request.headers["Host"] = parts.netloc
    return request, parts.host.strip("[]")


class _PinnedAdapter(HTTPAdapter):
    """Connect to one checked address, and still verify the certificate against the host's name."""

    def __init__(self, host: str, address: str, note: Callable[[socket.socket], None]) -> None:
        self.host, self.address, self.note = host, address, note
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        """Replace the name by the address; leave the name to the certificate's check."""
        keys: tuple[Any, Any] = super().build_connection_pool_key_attributes(request, verify, cert)
        where, how = keys
        where["host"] = self.address
        if where["scheme"] == "https":
            how["server_hostname"] = how["assert_hostname"] = self.host
        return where, how

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool, its connections telling of their sockets so that they can be ended."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        make = pool.ConnectionCls

        def noting(*args: Any, **kwargs: Any) -> Any:
            connection = make(*args, **kwargs)
            connect = connection.connect

            def connect_and_note() -> None:
                connect()
                self.note(connection.sock)

            connection.connect = connect_and_note
            return connection

        pool.ConnectionCls = noting
        return pool
