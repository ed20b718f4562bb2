"""The openEO Python client: its refresh-tokens.json is the home that both sides keep."""

from __future__ import annotations

import json

import pytest
import requests

from conftest import VENV

REALM = "openeo"
CLIENT = "sandbox-openeo"

DEVICE_LOGIN = """
import sys, openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_oidc_device(store_refresh_token=True, max_poll_time=60)
print(connection.describe_account()["user_id"])
"""

REUSE = """
import sys, openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_oidc(max_poll_time=5)
print(connection.describe_account()["user_id"])
"""


@pytest.fixture(autouse=True)
def back_end(machine, sandbox):
    """The sandbox's back-end, which ours finds by variable and theirs by argument."""
    machine.environment |= {"EARTHKEY_SANDBOX": sandbox.url, "PYTHONUNBUFFERED": "1"}
    return f"{sandbox.url}/openeo"


@pytest.fixture
def their_login(machine, sandbox, back_end, person):
    """Their device login in a script, which a person completes."""

    def run(**environment):
        argv = (VENV / "python", "-c", DEVICE_LOGIN, back_end)
        with machine.terminal(*argv, environment=environment) as terminal:
            person().visit(terminal.expect_url(sandbox.url))
            assert terminal.finish() == 0, terminal.screen
        assert "sandbox-ada" in terminal.screen

    return run


@pytest.fixture
def they_reuse(machine, back_end):
    """Their next session, which must find a refresh token and ask nobody."""

    def run(**environment):
        done = machine.run(VENV / "python", "-c", REUSE, back_end, environment=environment)
        assert done.code == 0, done.stdout + done.stderr
        assert "Authenticated using refresh token." in done.stdout
        assert done.stdout.splitlines()[-1] == "sandbox-ada"

    return run


def store(machine, folder=".local/share/openeo-python-client"):
    """Returns the path of the token store."""
    return machine.home / folder / "refresh-tokens.json"


def stored(machine, sandbox, folder=".local/share/openeo-python-client"):
    """Returns the refresh token of the sandbox's default client, in a file that is private."""
    path = store(machine, folder)
    found = [str(path) for path in machine.home.rglob("refresh-tokens.json")]
    assert path.exists(), f"the tokens are in {found}, and the client reads {path}"
    assert path.stat().st_mode & 0o777 == 0o600
    return json.loads(path.read_text())[f"{sandbox.url}/openeo-id"][CLIENT]["refresh_token"]


def test_sandbox_serves_them(machine, sandbox, their_login, they_reuse):
    """The counterpart alone: what fails here is no fault between the two programs."""
    their_login()
    first = stored(machine, sandbox)
    they_reuse()
    assert stored(machine, sandbox) != first


def test_their_login_serves_us(machine, sandbox, earthkey, back_end, their_login, they_reuse):
    their_login()
    theirs = stored(machine, sandbox)

    token = earthkey.token("openeo")
    header = earthkey("header", "openeo")
    assert header.stdout == f"Authorization: Bearer oidc/sandbox/{token}\n", header.stderr
    name, value = header.stdout.strip().split(": ")
    me = requests.get(f"{back_end}/1.2/me", headers={name: value}, timeout=30)
    assert me.json()["user_id"] == "sandbox-ada"
    assert sandbox.grants(REALM, "refresh_token") == 1

    ours = stored(machine, sandbox)
    assert ours != theirs
    they_reuse()
    assert stored(machine, sandbox) != ours


def test_their_command_serves_us(machine, sandbox, earthkey, back_end, person):
    with machine.terminal(VENV / "openeo-auth", "oidc-auth", back_end) as terminal:
        person().visit(terminal.expect_url(f"{sandbox.url}/openeo-id"))
        assert terminal.finish() == 0, terminal.screen
    assert "Stored refresh token in" in terminal.screen
    earthkey.token("openeo")


def test_their_login_shows_in_status_and_check(earthkey, their_login):
    their_login()
    [login] = earthkey.json("status")
    assert (login["system"], login["state"]) == ("openeo", "ready")
    assert login["home"].endswith("/refresh-tokens.json")
    done = earthkey("check", "openeo")
    assert done.code == 0, done.stderr
    assert "Ada Lovelace" in done.stdout


def test_our_login_serves_them(machine, sandbox, earthkey, back_end, they_reuse, person):
    earthkey.login("openeo", back_end, person=person())
    before = stored(machine, sandbox)
    they_reuse()
    after = stored(machine, sandbox)
    assert after != before
    they_reuse()
    assert stored(machine, sandbox) != after


def test_our_login_shows_in_their_command(machine, sandbox, earthkey, back_end, person):
    earthkey.login("openeo", back_end, person=person())
    dump = machine.run(VENV / "openeo-auth", "token-dump")
    assert dump.code == 0, dump.stderr
    assert f"{sandbox.url}/openeo-id" in dump.stdout
    assert CLIENT in dump.stdout


def test_refreshes_take_turns(machine, sandbox, earthkey, back_end, they_reuse, person):
    """With no grace at all: each spends what the other has just been given."""
    earthkey.login("openeo", back_end, person=person())
    seen = [stored(machine, sandbox)]
    for _ in range(2):
        earthkey.token("openeo", "--refresh")
        seen.append(stored(machine, sandbox))
        they_reuse()
        seen.append(stored(machine, sandbox))
    assert len(set(seen)) == 5
    assert sandbox.grants(REALM, "refresh_token") == 4


CONFIG = ".config/openeo-python-client"
DEFAULT = ".local/share/openeo-python-client"
FOLDERS = {
    # name: (variables, folders that exist before, where the store then is)
    "default": ({}, [], DEFAULT),
    "xdg": ({"XDG_DATA_HOME": "data"}, [], "data/openeo-python-client"),
    "xdg empty": ({"XDG_DATA_HOME": ""}, [], DEFAULT),
    "xdg new, default exists": ({"XDG_DATA_HOME": "data"}, [DEFAULT], DEFAULT),
    "own new": ({"OPENEO_CONFIG_HOME": "own"}, [], "own"),
    "own exists": ({"OPENEO_CONFIG_HOME": "own"}, ["own", DEFAULT], "own"),
    "own new, defaults exist": ({"OPENEO_CONFIG_HOME": "own"}, [CONFIG, DEFAULT], DEFAULT),
    # The client settles its folder of configuration first, and makes `own` for it: by the time
    # it looks for the tokens' folder, `own` exists.
    "own new, half the defaults exist": ({"OPENEO_CONFIG_HOME": "own"}, [DEFAULT], "own"),
    "own and xdg exist": (
        {"OPENEO_CONFIG_HOME": "own", "XDG_DATA_HOME": "data"},
        ["own", "data/openeo-python-client"],
        "own",
    ),
}


@pytest.fixture(params=FOLDERS.values(), ids=FOLDERS.keys())
def folder(request, machine):
    """Sets variables and folders as the client's rules tell them apart; returns the store's."""
    variables, existing, expected = request.param
    machine.environment |= {
        name: value and str(machine.home / value) for name, value in variables.items()
    }
    for path in existing:
        (machine.home / path).mkdir(parents=True)
    return expected


def test_we_find_their_store(machine, sandbox, earthkey, their_login, folder):
    their_login()
    before = stored(machine, sandbox, folder)
    earthkey.token("openeo")
    assert stored(machine, sandbox, folder) != before
    assert list(machine.home.rglob("refresh-tokens.json")) == [store(machine, folder)]


def test_they_find_our_store(machine, sandbox, earthkey, back_end, they_reuse, person, folder):
    earthkey.login("openeo", back_end, person=person())
    before = stored(machine, sandbox, folder)
    they_reuse()
    assert stored(machine, sandbox, folder) != before
    assert list(machine.home.rglob("refresh-tokens.json")) == [store(machine, folder)]


def test_readable_store_is_refused_by_both(machine, sandbox, earthkey, back_end, their_login):
    their_login()
    path = store(machine)
    path.chmod(0o644)
    theirs = machine.run(VENV / "python", "-c", REUSE, back_end)
    assert theirs.code == 1
    assert "could be readable by others" in theirs.stderr

    ours = earthkey("token", "openeo")
    assert ours.code in (6, 7)
    assert ours.stdout == ""
    assert f"chmod 600 {path}" in ours.stderr
    assert sandbox.grants(REALM, "refresh_token") == 0

    path.chmod(0o600)
    earthkey.token("openeo")


def test_unknown_keys_survive_our_refresh(machine, sandbox, earthkey, their_login, they_reuse):
    their_login()
    path = store(machine)
    content = json.loads(path.read_text())
    issuer = f"{sandbox.url}/openeo-id"
    strange = {"another-client": {"date": "2024-01-01T00:00:00Z", "refresh_token": "another"}}
    content["https://issuer.test/realms/é"] = strange
    content[issuer] |= strange
    content[issuer][CLIENT]["note"] = "kept by hand"
    path.write_text(json.dumps(content, indent=2))

    earthkey.token("openeo")
    after = json.loads(path.read_text())
    spent = content[issuer][CLIENT].pop("refresh_token")
    assert after[issuer][CLIENT].pop("refresh_token") != spent
    content[issuer][CLIENT].pop("date")
    after[issuer][CLIENT].pop("date")
    assert after == content
    they_reuse()


def test_logout_leaves_other_clients(machine, sandbox, earthkey, their_login):
    their_login()
    path = store(machine)
    content = json.loads(path.read_text())
    content["https://issuer.test"] = {
        "client": {"date": "2024-01-01T00:00:00Z", "refresh_token": "not-this-login's"}
    }
    path.write_text(json.dumps(content, indent=2))
    done = earthkey("logout", "openeo", "--yes")
    assert done.code == 0, done.stderr
    after = json.loads(path.read_text())
    assert after.get(f"{sandbox.url}/openeo-id", {}) == {}
    assert after["https://issuer.test"] == content["https://issuer.test"]
    assert earthkey("token", "openeo").code == 3
