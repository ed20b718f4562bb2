"""npm's oidc-provider: every flow of ours against an OpenID provider of another make."""

from __future__ import annotations

import contextlib
import os
import re
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

OTHER_USER = 65534
"""`nobody` on most systems; no process of ours runs as this one."""

SECRET = "service-secret-of-the-test"
SCOPES = "openid,offline_access,email"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
def login(oidc_provider, earthkey, person):
    """A login by device, from which the tests of refresh and logout start."""
    earthkey.login("oidc/there", oidc_provider.issuer, *_native("device"), person=person())
    assert oidc_provider.grants(DEVICE_GRANT) == 1


def userinfo(oidc_provider, token):
    """Returns whom the provider knows this access token to be."""
    return oidc_provider.post("/me", access_token=token).json()["sub"]


def test_loopback_by_opened_browser(oidc_provider, earthkey, browser, person):
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("loopback"))
    with earthkey.terminal(*arguments, BROWSER=str(browser.program)) as terminal:
        start = browser.opened()
        # What stands in an argument list is seen by every user of the machine.
        assert urlsplit(start).hostname == "127.0.0.1"
        assert urlsplit(start).query == ""
        visit = person().visit(start)
        assert terminal.finish() == 0, terminal.screen
    assert visit.status == 200
    assert urlsplit(visit.url).query == ""
    assert visit.redirected_abroad.startswith(f"{oidc_provider.issuer}/auth?")
    request = parse_qs(urlsplit(visit.redirected_abroad).query)
    assert request["code_challenge_method"] == ["S256"]
    assert request["redirect_uri"][0].startswith("http://127.0.0.1:")
    assert userinfo(oidc_provider, earthkey.token("oidc/there")) == "ada"


def test_loopback_start_page_works_once(oidc_provider, earthkey, browser, person):
    """Who reads the argument list later gets nothing from it, and disturbs nothing."""
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("loopback"))
    with earthkey.terminal(*arguments, BROWSER=str(browser.program)):
        start = browser.opened()
        first = person(stays_home=True).visit(start)
        second = person(stays_home=True).visit(start)
        assert first.redirected_abroad.startswith(oidc_provider.issuer)
        assert second.redirected_abroad is None
        assert second.status >= 400


def test_loopback_start_page_is_not_another_users(oidc_provider, earthkey, browser, person):
    """Who reads the argument list at once and is faster than the browser would sign the victim in as
    himself."""
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("loopback"))
    with earthkey.terminal(*arguments, BROWSER=str(browser.program)) as terminal:
        start = browser.opened()
        with another_user():
            answer = requests.get(start, allow_redirects=False, timeout=30)
        assert answer.status_code == 403
        assert not {"location", "set-cookie"} & {name.lower() for name in answer.headers}
        visit = person().visit(start)
        assert terminal.finish() == 0, terminal.screen
    assert "another user of this machine" in terminal.screen
    assert visit.status == 200
    assert userinfo(oidc_provider, earthkey.token("oidc/there")) == "ada"


@contextlib.contextmanager
def another_user():
    """What connects meanwhile is another user's, as the kernel has it."""
    assert os.geteuid() == 0, "only root can be somebody else: run the tests as root"
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)


def test_loopback_by_printed_url(oidc_provider, earthkey, person):
    visit, _ = earthkey.login(
        "oidc/there", oidc_provider.issuer, *_native("loopback"), person=person()
    )
    assert visit.status == 200
    assert urlsplit(visit.url).query == ""
    assert userinfo(oidc_provider, earthkey.token("oidc/there")) == "ada"


@pytest.mark.parametrize("flow", ["loopback", "device"])
def test_offline_access_brings_a_refresh_token(oidc_provider, earthkey, person, flow):
    """A browser flow gets one only by `prompt=consent` (OpenID Connect Core section 11)."""
    earthkey.login("oidc/there", oidc_provider.issuer, *_native(flow), person=person())
    assert len(oidc_provider.issued("refresh_token")) == 1
    assert userinfo(oidc_provider, earthkey.token("oidc/there", "--refresh")) == "ada"


def test_loopback_ignores_a_foreign_state(oidc_provider, earthkey, person):
    """A callback that nobody asked for neither ends nor spoils the login."""
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("loopback"), "--no-browser")
    with earthkey.terminal(*arguments) as terminal:
        url = terminal.expect_url()
        redirect_uri = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        forged = person().visit(f"{redirect_uri}?code=forged&state=forged&error=access_denied")
        assert forged.status >= 400
        person().visit(url)
        assert terminal.finish() == 0, terminal.screen
    assert oidc_provider.grants("authorization_code") == 1
    assert oidc_provider.grants("authorization_code", "invalid_grant") == 0


def test_loopback_declined(oidc_provider, earthkey, person):
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("loopback"), "--no-browser")
    with earthkey.terminal(*arguments) as terminal:
        url = terminal.expect_url()
        parts = parse_qs(urlsplit(url).query)
        person().visit(
            f"{parts['redirect_uri'][0]}?error=access_denied&state={parts['state'][0]}"
            f"&iss={oidc_provider.issuer}"
        )
        assert terminal.finish() == 4, terminal.screen
    assert earthkey("token", "oidc/there").code == 3


def test_paste(oidc_provider, earthkey, person):
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("paste"))
    with earthkey.terminal(*arguments) as terminal:
        visit = person(stays_home=True).visit(terminal.expect_url())
        terminal.type(visit.redirected_abroad)
        assert terminal.finish() == 0, terminal.screen
    assert userinfo(oidc_provider, earthkey.token("oidc/there")) == "ada"


@pytest.mark.parametrize(
    ("tampered", "cause", "tries", "code"),
    [("state", "belongs to another sign-in", 3, 2), ("iss", "another provider", 1, 4)],
)
def test_paste_of_another_answer(oidc_provider, earthkey, person, tampered, cause, tries, code):
    """Nothing of it is used; where another address may be right, it is asked for again."""
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("paste"))
    with earthkey.terminal(*arguments) as terminal:
        visit = person(stays_home=True).visit(terminal.expect_url())
        pasted = re.sub(rf"\b{tampered}=[^&]*", f"{tampered}=another", visit.redirected_abroad)
        assert pasted != visit.redirected_abroad
        for _ in range(tries):
            terminal.expect("Paste the address")
            terminal.type(pasted)
        assert terminal.finish() == code, terminal.screen
    assert cause in terminal.screen
    assert oidc_provider.grants("authorization_code") == 0


def test_device(oidc_provider, earthkey, person):
    visit, screen = earthkey.login(
        "oidc/there", oidc_provider.issuer, *_native("device"), person=person()
    )
    assert "successful" in visit.text
    assert re.search(r"\b[A-Z]{4}-[A-Z]{4}\b", screen), "the user code must be shown"
    assert userinfo(oidc_provider, earthkey.token("oidc/there")) == "ada"


def test_device_declined(oidc_provider, earthkey, person):
    arguments = ("login", "oidc/there", oidc_provider.issuer, *_native("device"), "--no-browser")
    with earthkey.terminal(*arguments) as terminal:
        person(decision="deny").visit(terminal.expect_url())
        assert terminal.finish() == 4, terminal.screen
    assert earthkey("token", "oidc/there").code == 3


def test_refresh_rotates(oidc_provider, earthkey, login):
    first = earthkey.token("oidc/there")
    second = earthkey.token("oidc/there", "--refresh")
    third = earthkey.token("oidc/there", "--refresh")
    assert len({first, second, third}) == 3
    assert oidc_provider.grants("refresh_token") == 2
    assert oidc_provider.grants("refresh_token", "invalid_grant") == 0
    assert userinfo(oidc_provider, third) == "ada"
    assert earthkey.token("oidc/there") == third


def test_revoked_login_is_refused(oidc_provider, earthkey, login):
    """Ended at the provider: who insists on a new token is told so, and what to type."""
    [refresh_token] = oidc_provider.issued("refresh_token")
    oidc_provider.post("/token/revocation", client_id="native", token=refresh_token)
    done = earthkey("token", "oidc/there", "--refresh")
    assert (done.code, done.stdout) == (4, ""), done.stderr
    assert "earthkey login oidc/there" in done.stderr
    assert oidc_provider.grants("refresh_token", "invalid_grant") == 1


def test_login_without_refresh_token(oidc_provider, earthkey, person):
    """Nobody asked for offline access: the access token serves for as long as it lives."""
    arguments = ("--client-id", "native", "--flow", "device", "--scopes", "openid")
    earthkey.login("oidc/there", oidc_provider.issuer, *arguments, person=person())
    assert oidc_provider.issued("refresh_token") == []
    assert [earthkey.token("oidc/there")] == oidc_provider.issued("access_token")
    [status] = earthkey.json("status")
    assert status["state"] == "valid"


def test_logout_revokes(oidc_provider, earthkey, login):
    [refresh_token] = oidc_provider.issued("refresh_token")
    done = earthkey("logout", "oidc/there", "--revoke", "--yes")
    assert done.code == 0, done.stderr
    answer = oidc_provider.post(
        "/token", grant_type="refresh_token", client_id="native", refresh_token=refresh_token
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert earthkey("token", "oidc/there").code == 3


def test_logout_alone_revokes_nothing(oidc_provider, earthkey, login):
    [refresh_token] = oidc_provider.issued("refresh_token")
    done = earthkey("logout", "oidc/there", "--yes")
    assert done.code == 0, done.stderr
    answer = oidc_provider.post(
        "/token", grant_type="refresh_token", client_id="native", refresh_token=refresh_token
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("flow", ["loopback", "device"])
def test_wire_log_holds_no_secret(oidc_provider, earthkey, person, flow):
    """Every request is told at `-vvv`; the watch over all output looks for what it may not tell."""
    arguments = (oidc_provider.issuer, *_native(flow), "-vvv")
    _, screen = earthkey.login("oidc/there", *arguments, person=person())
    assert "/token" in screen
    for command in (("check", "oidc/there"), ("logout", "oidc/there", "--revoke", "--yes")):
        done = earthkey(*command, "-vvv")
        assert done.code == 0, done.stderr
        assert oidc_provider.issuer in done.stderr


def test_client_credentials(oidc_provider, earthkey, secrets):
    secrets.know(SECRET)
    arguments = ("--flow", "client-credentials", "--client-id", "service", "--client-secret-stdin")
    done = earthkey("login", "oidc/batch", oidc_provider.issuer, *arguments, stdin=f"{SECRET}\n")
    assert done.code == 0, done.stderr
    first = earthkey.token("oidc/batch")
    assert oidc_provider.issued("client_credentials") == [first]
    assert earthkey.token("oidc/batch") == first
    assert earthkey.token("oidc/batch", "--refresh") != first


def test_client_credentials_refused(oidc_provider, earthkey, secrets):
    secrets.know("a-secret-that-is-wrong-here")
    arguments = ("--flow", "client-credentials", "--client-id", "service", "--client-secret-stdin")
    done = earthkey(
        "login", "oidc/batch", oidc_provider.issuer, *arguments,
        stdin="a-secret-that-is-wrong-here\n",
    )  # fmt: skip
    assert done.code == 4, done.stderr
    assert "invalid_client" in done.stderr
    assert earthkey("token", "oidc/batch").code == 3


@pytest.mark.registration
def test_registration(oidc_provider, earthkey, person):
    """No client id, and a provider that gives one to whoever asks (RFC 7591)."""
    earthkey.login(
        "oidc/there", oidc_provider.issuer,
        "--flow", "loopback", "--scopes", SCOPES, person=person(),
    )  # fmt: skip
    token = earthkey.token("oidc/there", "--refresh")
    assert userinfo(oidc_provider, token) == "ada"


def test_registration_not_offered(oidc_provider, earthkey):
    done = earthkey("login", "oidc/there", oidc_provider.issuer, "--no-input")
    assert done.code == 6, done.stderr
    assert "--client-id" in done.stderr


def test_nobody_to_ask(oidc_provider, earthkey):
    """A browser flow with `--no-input` ends at once and asks the provider for nothing."""
    done = earthkey("login", "oidc/there", oidc_provider.issuer, *_native("paste"), "--no-input")
    assert done.code == 3, done.stderr
    assert oidc_provider.issued() == []


def _native(flow):
    """Returns the options that log in as the provider's native client."""
    return ("--client-id", "native", "--flow", flow, "--scopes", SCOPES)
