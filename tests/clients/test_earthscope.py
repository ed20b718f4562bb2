"""earthscope-sdk and earthscope-cli: what one side writes, the other uses."""

from __future__ import annotations

import json

import pytest

from conftest import VENV, claims, wait_until_expired

REALM = "earthscope"


@pytest.fixture(autouse=True)
def tenant(machine, sandbox):
    """Points both programs at the sandbox, each by its own variables."""
    machine.environment |= {
        "EARTHKEY_SANDBOX": sandbox.url,
        "ES_OAUTH2__DOMAIN": sandbox.url,
        "ES_RESOURCES__API_URL": sandbox.url,
        "ES_OAUTH2__ALLOWED_HOSTS": '["127.0.0.1"]',
        # Their login always opens a browser; the URL is what a person uses here.
        "BROWSER": "/bin/true",
    }


@pytest.fixture
def es(machine):
    """Their command; every failure of it is one of the test."""

    def run(*args, **environment):
        done = machine.run(VENV / "es", *args, environment=environment)
        assert done.code == 0, done.stdout + done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def es_login(machine, sandbox, person):
    """Their device login, which a person completes."""

    def run(*args, **environment):
        with machine.terminal(VENV / "es", "login", *args, environment=environment) as terminal:
            person().visit(terminal.expect_url(sandbox.url))
            terminal.expect("Successful login! Access token expires at ")
            assert terminal.finish() == 0, terminal.screen

    return run


def path_of(machine, profile="default"):
    """Returns where the SDK keeps a profile's tokens."""
    return machine.home / ".earthscope" / profile / "tokens.json"


def stored(machine, profile="default"):
    """Returns the SDK's file of a profile, which must be private."""
    path = path_of(machine, profile)
    assert path.stat().st_mode & 0o777 == 0o600
    return json.loads(path.read_text())


def test_sandbox_serves_them(machine, sandbox, es, es_login):
    """The counterpart alone: what fails here is no fault between the two programs."""
    es_login()
    first = stored(machine)
    assert es("user", "get-access-token") == first["access_token"]
    es("user", "refresh-access-token")
    assert stored(machine)["refresh_token"] != first["refresh_token"]
    assert json.loads(es("user", "get-profile"))["primary_email"] == "ada@sandbox.test"
    assert sandbox.grants(REALM, "refresh_token") == 1
    es("user", "revoke-refresh-token")
    assert not path_of(machine).exists()


def test_their_login_serves_us(machine, sandbox, earthkey, es_login):
    es_login()
    theirs = stored(machine)
    assert earthkey.token("earthscope") == theirs["access_token"]
    header = earthkey("header", "earthscope")
    assert header.stdout == f"Authorization: Bearer {theirs['access_token']}\n", header.stderr
    [login] = earthkey.json("status")
    assert login["login"] == login["system"] == "earthscope"
    assert login["state"] == "valid"
    assert login["expires_at"] == claims(theirs["access_token"])["exp"]
    assert sandbox.grants(REALM, "refresh_token") == 0
    assert stored(machine) == theirs


def test_our_login_serves_them(machine, sandbox, earthkey, es, person):
    earthkey.login("earthscope", person=person())
    ours = stored(machine)
    assert es("user", "get-access-token") == ours["access_token"]
    assert es("user", "get-refresh-token") == ours["refresh_token"]
    assert json.loads(es("user", "get-profile"))["primary_email"] == "ada@sandbox.test"
    assert earthkey.token("earthscope") == ours["access_token"]
    assert sandbox.grants(REALM, "refresh_token") == 0


def test_our_login_serves_their_library(machine, earthkey, person):
    earthkey.login("earthscope", person=person())
    script = """
from earthscope_sdk import EarthScopeClient

with EarthScopeClient() as client:
    print(client.user.get_profile().primary_email)
"""
    done = machine.run(VENV / "python", "-c", script)
    assert (done.code, done.stdout) == (0, "ada@sandbox.test\n"), done.stderr


def test_our_login_serves_check(earthkey, person):
    earthkey.login("earthscope", person=person())
    done = earthkey("check", "earthscope")
    assert done.code == 0, done.stderr
    assert "ada" in done.stdout + done.stderr


def test_we_refresh_what_they_let_expire(machine, sandbox, earthkey, es, es_login):
    """With no grace at all: whoever comes next must find the rotated token."""
    sandbox.settings(REALM, access_token_lifetime=1)
    es_login()
    spent = stored(machine)
    wait_until_expired(spent["access_token"])
    sandbox.settings(REALM, access_token_lifetime=3600)

    fresh = earthkey.token("earthscope")
    kept = stored(machine)
    assert fresh == kept["access_token"] != spent["access_token"]
    assert kept["refresh_token"] != spent["refresh_token"]
    assert es("user", "get-access-token") == fresh
    assert json.loads(es("user", "get-profile"))["primary_email"] == "ada@sandbox.test"
    assert sandbox.grants(REALM, "refresh_token") == 1


def test_they_refresh_what_we_let_expire(machine, sandbox, earthkey, es, person):
    sandbox.settings(REALM, access_token_lifetime=1)
    earthkey.login("earthscope", person=person())
    spent = stored(machine)
    wait_until_expired(spent["access_token"])
    sandbox.settings(REALM, access_token_lifetime=3600)

    fresh = es("user", "get-access-token")
    assert fresh == stored(machine)["access_token"] != spent["access_token"]
    assert earthkey.token("earthscope") == fresh
    assert sandbox.grants(REALM, "refresh_token") == 1


def test_refreshes_take_turns(machine, sandbox, earthkey, es, person):
    """Ours, theirs, ours, theirs: each spends what the other has just been given."""
    earthkey.login("earthscope", person=person())
    seen = [stored(machine)["refresh_token"]]
    for _ in range(2):
        earthkey.token("earthscope", "--refresh")
        seen.append(stored(machine)["refresh_token"])
        es("user", "refresh-access-token")
        seen.append(stored(machine)["refresh_token"])
    assert len(set(seen)) == 5
    assert sandbox.grants(REALM, "refresh_token") == 4
    assert earthkey.token("earthscope") == es("user", "get-access-token")


def test_our_refresh_keeps_their_file(machine, earthkey, es_login):
    """The format stays the SDK's: its three keys, two blanks of indent, no final newline."""
    es_login()
    path = path_of(machine)
    before = path.read_text()
    earthkey.token("earthscope", "--refresh")
    after = path.read_text()
    assert after != before
    assert json.loads(after).keys() == json.loads(before).keys()
    assert after == json.dumps(json.loads(after), indent=2)


def test_profiles_are_logins(machine, earthkey, es, es_login, person):
    _declare(machine, "lab", "field trip")
    es_login("--profile", "lab")
    lab = stored(machine, "lab")["access_token"]
    assert earthkey.token("earthscope/lab") == lab
    assert earthkey.token("earthscope", ES_PROFILE="lab") == lab

    earthkey.login("earthscope/field-trip", person=person(username="grace"))
    trip = stored(machine, "field-trip")["access_token"]
    assert es("user", "get-access-token", "--profile", "field trip") == trip
    assert es("user", "get-access-token", ES_PROFILE="field trip") == trip
    assert earthkey.token("earthscope/field-trip") == trip

    assert not path_of(machine).exists()
    assert earthkey("token", "earthscope").code == 3


def test_status_names_profiles_as_declared_or_by_their_folders(machine, earthkey, es_login):
    """The SDK knows no profile `lab`. A name with blanks is no word of a command; its folder's is."""
    _declare(machine, "Lab", "field trip")
    es_login("--profile", "Lab")
    es_login("--profile", "field trip")
    logins = {login["login"]: login["state"] for login in earthkey.json("status")}
    assert logins == {"earthscope/Lab": "valid", "earthscope/field-trip": "valid"}


def test_refused_login_costs_one_request(machine, sandbox, earthkey, es_login):
    """Ended at the provider: everybody is told so, and the provider hears of it once."""
    sandbox.settings(REALM, access_token_lifetime=1)
    es_login()
    before = stored(machine)
    sandbox.revoke(REALM)
    wait_until_expired(before["access_token"])
    for _ in range(3):
        done = earthkey("token", "earthscope")
        assert (done.code, done.stdout) == (4, ""), done.stderr
        assert "earthkey login earthscope" in done.stderr
    assert sandbox.grants(REALM, "refresh_token", status=403) == 1
    assert stored(machine) == before


def test_their_logout_is_ours(earthkey, es, es_login):
    es_login()
    earthkey.token("earthscope")
    assert es("logout") == "Logged out"
    done = earthkey("token", "earthscope")
    assert (done.code, done.stdout) == (3, "")
    assert "earthkey login earthscope" in done.stderr


def test_our_logout_is_theirs(machine, earthkey, person):
    earthkey.login("earthscope", person=person())
    done = earthkey("logout", "earthscope", "--yes")
    assert done.code == 0, done.stderr
    theirs = machine.run(VENV / "es", "user", "get-access-token")
    assert theirs.code == 1
    assert "No tokens found for profile" in theirs.stdout


def test_declined_login_writes_nothing(machine, earthkey, person):
    with earthkey.terminal("login", "earthscope", "--no-browser") as terminal:
        person(decision="deny").visit(terminal.expect_url())
        assert terminal.finish() == 4, terminal.screen
    assert not path_of(machine).exists()


def _declare(machine, *profiles):
    """Declares profiles, without which the SDK refuses their names."""
    folder = machine.home / ".earthscope"
    folder.mkdir()
    tables = [f'[profile."{profile}"]\n' for profile in profiles]
    (folder / "config.toml").write_text("".join(tables))
