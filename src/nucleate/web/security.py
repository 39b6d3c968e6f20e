"""Checks that every request passes before anything else sees it, and the headers of every answer.

Threats: other web pages in the user's browser (cross-site requests, DNS rebinding, framing), other users of the computer (they do not know
the token), and uploads that are too large. Other processes of the same user are trusted, because they can read the same files.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-nucleate"
"""Header that requests which change something carry; a page of another origin cannot send it without a permission that is never given."""
LARGEST_BODY = 5_000_000
"""Largest size of an uploaded file, in bytes."""
OVERHEAD = 10_000
"""Bytes that a form may add to the file."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Policy of the report of a run, whose script is part of the page; the sandbox gives it an origin of its own, without the cookie."""
SAFE = ("GET", "HEAD")


class TooLarge(Exception):
    """The body of a request is larger than `LARGEST_BODY`."""


class Guard:
    """ASGI application that checks requests, passes them on, and adds headers to the answers.

    Args:
        app: application behind the checks.
        port: port of the server, which the `Host` header has to name.
        token: secret of the printed address; a browser exchanges it for a cookie, a program sends it as `Authorization: Bearer TOKEN`.
        open_path: path below which requests that only read need no token; None: there is none. All other checks are made there as well.
    """

    def __init__(self, app: ASGIApp, port: int, token: str, open_path: str | None = None):
        self.app = app
        self.token = token
        self.open_path = open_path
        self.session = secrets.token_urlsafe(32)
        self.hosts = tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))
        # Cookies are shared by all ports of a host, so each server has its own name.
        self.cookie = f"nucleate-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There are no WebSockets; closing before accepting refuses the handshake.
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        answered = False

        async def guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                _add_headers(MutableHeaders(raw=message["headers"]), scope["path"].startswith("/static/"))
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(guarded, *refusal)
            return
        if scope["path"] == "/" and self._is_token(_query_token(scope)):
            # The token leaves the address bar and the history of the browser.
            await self._hand_over(guarded)
            return
        if not self._is_open(scope) and not self._is_known(headers):
            await _answer(guarded, 401, "this address needs the token: open the address that nucleate serve has printed")
            return
        try:
            await self.app(scope, _bounded(receive), guarded)
        except TooLarge:
            if answered:
                raise
            await _answer(guarded, 413, f"the request is larger than {LARGEST_BODY // 1_000_000} MB; send a smaller file")

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return status and reason if a request is refused whoever sent it."""
        if headers.getlist("host") not in [[host] for host in self.hosts]:
            return 400, f"the Host header must be {' or '.join(self.hosts)}"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "the Content-Length header must be a number"
        if len(length) > 12 or int(length) > LARGEST_BODY + OVERHEAD:
            return 413, f"the request is larger than {LARGEST_BODY // 1_000_000} MB; send a smaller file"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] != "/":
            return 403, "the request comes from another site"
        origin = headers.get("origin")
        if scope["method"] in SAFE and not (self._is_open(scope) and origin is not None):
            return None
        if origin is not None and origin not in [f"http://{host}" for host in self.hosts]:
            return 403, "the request comes from another site"
        if scope["method"] not in SAFE and HEADER not in headers:
            return 403, "requests that change something need the header X-Nucleate: 1"
        return None

    def _is_open(self, scope: Scope) -> bool:
        """Return whether a request needs no token."""
        return self.open_path is not None and scope["method"] in SAFE and f"{scope['path']}/".startswith(f"{self.open_path}/")

    def _is_known(self, headers: Headers) -> bool:
        """Return whether the request carries the cookie of this server, or its token."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        try:
            value = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return value is not None and _equal(value.value, self.session)

    def _is_token(self, given: str) -> bool:
        return _equal(given, self.token)

    async def _hand_over(self, send: Send) -> None:
        """Redirect to the page and set the cookie, which no script can read and no other site can make the browser send."""
        cookie = f"{self.cookie}={self.session}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _equal(given: str, secret: str) -> bool:
    """Return whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _query_token(scope: Scope) -> str:
    """Return the token in the query of an address, or an empty text."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=20) if scope.get("query_string") else {}
    return query.get("token", [""])[0]


def _bounded(receive: Receive) -> Receive:
    """Return `receive` with a limit on the sum of all pieces of the body, whatever its stated length."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY + OVERHEAD:
            raise TooLarge
        return message

    return limited


def _add_headers(headers: MutableHeaders, constant: bool) -> None:
    """Add the headers of every answer; an answer may have its own content policy, and `constant` ones may be kept and compared."""
    headers.setdefault("content-security-policy", POLICY)
    headers.setdefault("cache-control", "private, no-cache" if constant else "no-store")
    headers["x-content-type-options"] = "nosniff"
    headers["x-frame-options"] = "DENY"
    headers["referrer-policy"] = "no-referrer"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["cross-origin-resource-policy"] = "same-origin"


async def _answer(send: Send, status: int, reason: str) -> None:
    """Send a refusal."""
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
