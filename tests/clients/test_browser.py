"""Chromium: the pages, by keyboard and mouse, wide and narrow, light and dark."""

from __future__ import annotations

import contextlib
import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from conftest import NODE_PACKAGES, TARGET, node

EARTHSCOPE_CLIENT = "b9DtAFBd6QvMg761vI3YhYquNZbJX5G0"
SCREENSHOTS = TARGET / "screenshots"
WINDOWS = [
    (1280, "light", "keyboard"),
    (1280, "dark", "mouse"),
    (360, "light", "mouse"),
    (360, "dark", "keyboard"),
]


@pytest.fixture(params=WINDOWS, ids=lambda window: "-".join(map(str, window)))
def look(request, machine):
    """A browser window; returns what goes through pages in it and tells their faults."""
    width, scheme, hands = request.param
    chromium = shutil.which("chromium-headless-shell")
    assert chromium, "chromium-headless-shell is not in PATH: run scripts/setup-tests"
    SCREENSHOTS.mkdir(exist_ok=True)

    def look(name, url, decision="allow", pictures=SCREENSHOTS, **answers):
        order = {
            "packages": str(NODE_PACKAGES),
            "chromium": chromium,
            "url": url,
            "answers": {"username": "ada", "password": "sandbox", **answers},
            "decision": decision,
            "hands": hands,
            "width": width,
            "scheme": scheme,
            "screenshots": str(pictures / f"{name}-{width}-{scheme}"),
        }
        script = Path(__file__).with_name("pages.mjs")
        done = machine.run(node(), script, stdin=json.dumps(order))
        assert done.code == 0, done.stderr
        return json.loads(done.stdout)["pages"]

    return look


@pytest.fixture
def visit(look):
    """Goes through pages that must be without fault; returns them."""

    def visit(name, url, **how):
        pages = look(name, url, **how)
        faults = [f"{page['title']}: {fault}" for page in pages for fault in page["problems"]]
        assert not faults, "\n".join(faults)
        return pages

    return visit


def test_sandbox_pages(sandbox, visit):
    """The pages alone: what fails here is no fault of a flow."""
    device = requests.post(
        f"{sandbox.url}/oauth/device/code",
        data={"client_id": EARTHSCOPE_CLIENT, "scope": "offline_access"},
        timeout=30,
    ).json()
    pages = visit("pages", device["verification_uri"], user_code=device["user_code"])
    assert len(pages) >= 3
    assert {page["status"] for page in pages} == {200}


def test_sandbox_sends_back(sandbox, visit):
    """Consent leads on to a listener of this machine, which the pages' own policy must allow."""
    with listener(b"<!doctype html><html lang=en><title>Back</title><h1>Back</h1>") as home:
        query = {
            "client_id": "sandbox-public",
            "response_type": "code",
            "redirect_uri": f"{home}/callback",
            "scope": "openid",
            "state": "from-the-test",
            # The challenge of RFC 7636, appendix B.
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }
        metadata = f"{sandbox.url}/oidc/.well-known/openid-configuration"
        authorize = requests.get(metadata, timeout=30).json()["authorization_endpoint"]
        pages = visit("sent-back", f"{authorize}?{urlencode(query)}")
    returned = parse_qs(urlsplit(pages[-1]["url"]).query)
    assert pages[-1]["url"].startswith(home)
    assert returned.keys() == {"code", "state", "iss"}


def test_loopback(sandbox, earthkey, visit):
    arguments = ("login", "oidc", "--flow", "loopback", "--no-browser")
    with earthkey.terminal(*arguments, EARTHKEY_SANDBOX=sandbox.url) as terminal:
        pages = visit("loopback", terminal.expect_url())
        assert terminal.finish() == 0, terminal.screen
    *signing_in, last = pages
    assert len(signing_in) >= 2, "signing in and consent are pages of their own"
    assert all(page["url"].startswith(sandbox.url) for page in signing_in)
    assert not last["url"].startswith(sandbox.url)
    assert last["status"] == 200
    # The visible address is what goes into histories and screenshots.
    assert urlsplit(last["url"]).query == urlsplit(last["url"]).fragment == ""


def test_loopback_declined(sandbox, earthkey, visit):
    arguments = ("login", "oidc", "--flow", "loopback", "--no-browser")
    with earthkey.terminal(*arguments, EARTHKEY_SANDBOX=sandbox.url) as terminal:
        pages = visit("loopback-declined", terminal.expect_url(), decision="deny")
        assert terminal.finish() == 4, terminal.screen
    assert urlsplit(pages[-1]["url"]).query == ""


def test_device(sandbox, earthkey, visit):
    arguments = ("login", "earthscope", "--no-browser")
    with earthkey.terminal(*arguments, EARTHKEY_SANDBOX=sandbox.url) as terminal:
        pages = visit("device", terminal.expect_url())
        assert terminal.finish() == 0, terminal.screen
    assert len(pages) >= 3
    assert all(page["url"].startswith(sandbox.url) for page in pages)


def test_device_by_typed_code(sandbox, earthkey, visit):
    """The code is read from the terminal and typed at the address without it."""
    arguments = ("login", "earthscope", "--no-browser")
    with earthkey.terminal(*arguments, EARTHKEY_SANDBOX=sandbox.url) as terminal:
        complete = urlsplit(terminal.expect_url(sandbox.url))
        code = dict(part.split("=") for part in complete.query.split("&"))["user_code"]
        pages = visit("device-typed", complete._replace(query="").geturl(), user_code=code)
        assert terminal.finish() == 0, terminal.screen
    assert len(pages) >= 3


FAULTY = b"""<!doctype html><h1>Sign in</h1><h1>Again</h1>
<div style="width: 5000px">wide</div><style>:focus { outline: none }</style>
<form method="post"><input name="username"><button onclick="1"></button></form>
<script>console.error("out of order")</script>"""


@contextlib.contextmanager
def listener(first, then=b"<!doctype html><title>done</title>"):
    """Serves one page to who asks and another to who posts; yields its address."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(first)

        def do_POST(self):
            self._answer(then)

        def log_message(self, *_):
            pass

        def _answer(self, body):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_faults_are_noticed(request, look, tmp_path):
    with listener(FAULTY) as url:
        first, last = look("faulty", url, pictures=tmp_path)
    found = "\n".join(first["problems"])
    for fault in (
        "console: out of order",
        "holds a script",
        "onclick of BUTTON",
        "scrolls sideways",
        "names no language",
        "has no title",
        "has not one main heading",
        "has no label",
        "has no name",
    ):
        assert fault in found
    if "keyboard" in request.node.name:
        assert "focus cannot be seen" in found
    assert "names no language" in last["problems"]
