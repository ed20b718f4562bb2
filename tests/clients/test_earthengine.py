"""earthengine-api: its credentials file is the home that both sides keep."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

LOOPBACK = ("--flow", "loopback:0")
PROJECT = "sandbox-project"
TOKEN = "oauth2.googleapis.com/token"
DISCOVERY = "earthengine.googleapis.com/$discovery/rest"
ALGORITHMS = f"earthengine.googleapis.com/v1/projects/{PROJECT}/algorithms"
CONSOLE = "https://console.developers.google.com/"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

AUTHENTICATE = """
import ee

print(ee.Authenticate())
"""

# Their default port may be taken on this machine, and they try no other.
LOGIN = """
import ee

ee.Authenticate(auth_mode="localhost:0", force=True)
"""

INITIALIZE = """
import sys, ee

ee.Initialize(project="".join(sys.argv[1:]) or None)
print(len(ee.ApiFunction.allSignatures()))
"""

# What a page of Google's does for `auth_mode="notebook"`, up to the file.
NOTEBOOK = """
import json, sys, ee.oauth
from google_auth_oauthlib.flow import InstalledAppFlow

client, path = sys.argv[1:]
flow = InstalledAppFlow.from_client_secrets_file(client, scopes=ee.oauth.SCOPES)
credentials = flow.run_local_server(port=0, open_browser=False)
ee.oauth.write_private_json(path, {
    "client_id": credentials.client_id,
    "client_secret": credentials.client_secret,
    "refresh_token": credentials.refresh_token,
    "scopes": credentials.scopes,
    "project": credentials.client_id.split("-")[0],
})
"""

SERVICE_ACCOUNT = """
import sys, ee

ee.Initialize(ee.ServiceAccountCredentials(None, sys.argv[1]), project=sys.argv[2])
print(len(ee.ApiFunction.allSignatures()))
"""

SCOPES = """
import json, ee.oauth

print(json.dumps(ee.oauth.SCOPES))
"""


@pytest.fixture
def path(machine):
    """Where the client keeps its login."""
    return machine.home / ".config" / "earthengine" / "credentials"


@pytest.fixture
def their_login(google, person):
    """Their login on localhost, which a person completes."""

    def run(username="ada"):
        screen = google.login(LOGIN, person=person(username=username))
        assert "Successfully saved authorization token." in screen

    return run


@pytest.fixture
def our_login(google, earthkey, person):
    """Our login by loopback, which a person completes."""

    def run(*args, username="ada"):
        earthkey.login("earthengine", *LOOPBACK, *args, person=person(username=username))

    return run


@pytest.fixture
def key(google, machine):
    """A key of a service account, downloaded to this machine."""
    return google.key_file(machine.home / "key.json")


def stored(path):
    """Returns the client's file, which must be private."""
    assert path.stat().st_mode & 0o777 == 0o600
    return json.loads(path.read_text())


def test_sandbox_serves_them(google, sandbox, path, their_login):
    """The counterpart alone: what fails here is no fault between the two programs."""
    their_login()
    assert sandbox.grants(google.REALM, "authorization_code") == 1
    assert stored(path).keys() == {"redirect_uri", "refresh_token", "scopes"}
    assert int(google.python(INITIALIZE, PROJECT)) > 0
    assert sandbox.grants(google.REALM, "refresh_token") == 1
    assert len(google.requests(DISCOVERY)) == 2
    assert len(google.requests(ALGORITHMS)) == 1
    assert google.python(AUTHENTICATE) == "True"
    assert sandbox.grants(google.REALM, "refresh_token") == 3


def test_sandbox_serves_their_service_account(google, sandbox, key):
    assert int(google.python(SERVICE_ACCOUNT, key, PROJECT)) > 0
    assert sandbox.grants(google.REALM, JWT_BEARER) >= 1
    assert len(google.requests(ALGORITHMS)) == 1


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ("sandbox-disabled", "Earth Engine API has not been used in project sandbox-disabled"),
        ("sandbox-forbidden", "Caller does not have required permission to use project"),
        ("sandbox-unregistered", "Not signed up for Earth Engine or project is not registered"),
        ("", "ee.Initialize: no project found"),
    ],
)
def test_sandbox_refuses_them(google, their_login, project, message):
    their_login()
    done = google.run("python", "-c", INITIALIZE, project)
    assert done.code == 1
    assert message in done.stderr


def test_their_login_serves_us(google, sandbox, earthkey, path, their_login):
    their_login()
    before = path.read_bytes()
    token = earthkey.token("earthengine")
    assert google.subject(token) == "sandbox-ada"
    assert earthkey.token("earthengine") == token
    header = earthkey("header", "earthengine")
    assert f"Authorization: Bearer {token}" in header.stdout.splitlines(), header.stderr
    [login] = earthkey.json("status", "earthengine")
    assert (login["login"], login["state"]) == ("earthengine", "valid")
    assert login["home"].endswith("/earthengine/credentials")
    assert sandbox.grants(google.REALM, "refresh_token") == 1
    assert path.read_bytes() == before


def test_their_login_by_another_client_serves_us(google, machine, earthkey, path, person):
    """A notebook's login is of a client of the person's own project."""
    client = google.client_file(machine.home / "client_secret.json")
    google.login(NOTEBOOK, client, path, person=person())
    before = path.read_bytes()
    assert google.subject(earthkey.token("earthengine")) == "sandbox-ada"
    done = earthkey("check", "earthengine")
    assert done.code == 0, done.stderr
    assert int(google.python(INITIALIZE)) > 0
    assert len(google.requests(ALGORITHMS.replace(PROJECT, "424242424242"))) == 2
    assert path.read_bytes() == before


def test_our_login_serves_them(google, sandbox, path, our_login):
    our_login("--project", PROJECT)
    before = path.read_bytes()
    assert stored(path).keys() == {"refresh_token", "scopes", "project"}
    assert stored(path)["scopes"] == json.loads(google.python(SCOPES))
    assert stored(path)["project"] == PROJECT
    assert int(google.python(INITIALIZE)) > 0
    assert sandbox.grants(google.REALM, "refresh_token") == 1
    assert len(google.requests(ALGORITHMS)) == 1
    assert path.read_bytes() == before


def test_our_login_needs_no_project(google, path, our_login):
    our_login()
    assert stored(path).keys() == {"refresh_token", "scopes"}
    assert int(google.python(INITIALIZE, PROJECT)) > 0
    assert "no project found" in google.run("python", "-c", INITIALIZE).stderr


def test_their_authenticate_leaves_our_login_alone(google, sandbox, path, our_login):
    """The first line of every notebook: where it finds no login that will do, it asks a person."""
    our_login()
    before = path.read_bytes()
    assert google.python(AUTHENTICATE) == "True"
    assert path.read_bytes() == before
    assert sandbox.grants(google.REALM, "authorization_code") == 1
    assert sandbox.grants(google.REALM, "refresh_token") == 2


def test_our_token_costs_no_request(google, sandbox, earthkey, our_login):
    our_login()
    token = earthkey.token("earthengine")
    assert google.subject(token) == "sandbox-ada"
    assert earthkey.token("earthengine") == token
    assert len(google.requests(TOKEN)) == 1
    assert earthkey.token("earthengine", "--refresh") != token
    assert sandbox.grants(google.REALM, "refresh_token") == 1


def test_their_project_is_ours(google, earthkey, their_login):
    their_login()
    assert google.run("earthengine", "set_project", "their-project").code == 0
    done = earthkey("check", "earthengine")
    assert done.code == 0, done.stderr
    asked = ALGORITHMS.replace(PROJECT, "their-project")
    assert [entry["quota_project"] for entry in google.requests(asked)] == ["their-project"]


def test_header_names_the_project(earthkey, our_login):
    """As their requests do."""
    our_login("--project", PROJECT)
    lines = earthkey("header", "earthengine").stdout.splitlines()
    assert lines[1:] == [f"x-goog-user-project: {PROJECT}"]


def test_check_counts_as_they_do(google, earthkey, their_login):
    their_login()
    count = google.python(INITIALIZE, PROJECT)
    done = earthkey("check", "earthengine", "--project", PROJECT)
    assert done.code == 0, done.stderr
    assert re.search(rf"\b{count} algorithms?\b", done.stdout), done.stdout
    assert len(google.requests(ALGORITHMS)) == 2


@pytest.mark.documents
def test_check_counts_all_of_earth_engine(google, earthkey, their_login):
    their_login()
    count = google.python(INITIALIZE, PROJECT)
    assert int(count) > 900
    done = earthkey("check", "earthengine", "--project", PROJECT)
    assert f"{count} algorithms" in done.stdout, done.stderr


def test_our_login_keeps_their_keys(google, path, their_login, our_login):
    """Their own login would drop them, and the project with them."""
    their_login()
    assert google.run("earthengine", "set_project", PROJECT).code == 0
    theirs = stored(path) | {"url": "https://earthengine.googleapis.com", "account": "field@x.test"}
    path.write_text(json.dumps(theirs))
    our_login("--force")
    ours = stored(path)
    assert ours["refresh_token"] != theirs["refresh_token"]
    kept = theirs.keys() - {"refresh_token", "scopes", "redirect_uri"}
    assert {name: ours.get(name) for name in kept} == {name: theirs[name] for name in kept}
    assert int(google.python(INITIALIZE)) > 0


def test_login_of_one_client_is_not_mixed_with_anothers(google, path, their_login, our_login):
    """A client of the authenticator page in the file would be sent with our refresh token."""
    their_login()
    another = {"client_id": "4242-another.apps.googleusercontent.com", "client_secret": "unknown"}
    path.write_text(json.dumps(stored(path) | another))
    our_login("--force")
    assert google.python(AUTHENTICATE) == "True"
    assert int(google.python(INITIALIZE, PROJECT)) > 0


def test_link_is_followed(google, machine, path, our_login):
    """Their own login would put a file in its place."""
    shared = machine.home / "shared"
    shared.write_text("{}")
    shared.chmod(0o600)
    path.parent.mkdir(parents=True)
    path.symlink_to(shared)
    our_login()
    assert path.is_symlink()
    assert stored(shared)["refresh_token"]
    assert int(google.python(INITIALIZE, PROJECT)) > 0


def test_their_login_while_ours_is_adopted(google, sandbox, earthkey, path, our_login, their_login):
    """They remove the file and make it anew; no token of the account before is shown again."""
    our_login()
    assert google.subject(earthkey.token("earthengine")) == "sandbox-ada"
    their_login(username="grace")
    theirs = path.read_bytes()
    assert "redirect_uri" in stored(path)
    assert google.subject(earthkey.token("earthengine")) == "sandbox-grace"
    assert path.read_bytes() == theirs
    assert sandbox.grants(google.REALM, "refresh_token") == 1


def test_our_logout_leaves_their_project(google, earthkey, path, our_login):
    our_login("--project", PROJECT)
    done = earthkey("logout", "earthengine", "--yes")
    assert done.code == 0, done.stderr
    assert stored(path) == {"project": PROJECT}
    theirs = google.run("python", "-c", INITIALIZE)
    assert "Please authorize access to your Earth Engine account" in theirs.stderr
    done = earthkey("token", "earthengine")
    assert (done.code, done.stdout) == (3, "")
    assert "earthkey login earthengine" in done.stderr


@pytest.mark.parametrize("content", ["", '{"refresh_token": "1//', "[]"])
def test_damaged_file_is_named(google, earthkey, path, content):
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)
    done = earthkey("token", "earthengine")
    assert (done.code, done.stdout) == (7, "")
    assert "/.config/earthengine/credentials" in done.stderr
    assert "hint: " in done.stderr
    assert path.read_text() == content
    assert "Traceback" in google.run("python", "-c", INITIALIZE, PROJECT).stderr


def test_revoked_login_costs_one_request(google, sandbox, earthkey, path, their_login):
    """They say the same of everything; we say what Google said, and ask it once."""
    their_login()
    before = path.read_bytes()
    sandbox.revoke(google.REALM)
    for _ in range(3):
        done = earthkey("token", "earthengine")
        assert (done.code, done.stdout) == (4, ""), done.stderr
        assert "earthkey login earthengine" in done.stderr
    assert sandbox.grants(google.REALM, "refresh_token", status=400) == 1
    assert path.read_bytes() == before
    theirs = google.run("python", "-c", INITIALIZE, PROJECT)
    assert "Please authorize access to your Earth Engine account" in theirs.stderr


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ("sandbox-disabled", rf"{CONSOLE}\S*earthengine\S*project=sandbox-disabled"),
        ("sandbox-forbidden", r"roles/serviceusage\.serviceUsageConsumer"),
        ("sandbox-unregistered", r"https://\S+earth-?engine\S*"),
    ],
)
def test_project_that_google_refuses(earthkey, their_login, project, message):
    """The login is good: who is told to sign in again would do so in vain."""
    their_login()
    done = earthkey("check", "earthengine", "--project", project)
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert project in done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "sign in" not in done.stderr


def test_check_without_any_project(google, earthkey, their_login):
    their_login()
    done = earthkey("check", "earthengine")
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert "--project" in done.stderr
    assert google.requests("earthengine.googleapis.com/v1/projects/517222506229/algorithms") == []


def test_one_key_serves_both(google, sandbox, earthkey, machine, key):
    """It stays where it is; whoever copies it has one more place to delete it from."""
    before = key.read_bytes()
    secret = json.loads(before)["private_key"].splitlines()[1]
    done = earthkey("login", "earthengine", "--flow", "service-account", "--key", str(key))
    assert done.code == 0, done.stderr
    token = earthkey.token("earthengine")
    assert earthkey.token("earthengine") == token
    assert sandbox.grants(google.REALM, JWT_BEARER) == 1
    done = earthkey("check", "earthengine", "--project", PROJECT)
    assert done.code == 0, done.stderr

    assert int(google.python(SERVICE_ACCOUNT, key, PROJECT)) > 0
    assert key.read_bytes() == before
    holding = [
        path
        for path in machine.home.rglob("*")
        if path.is_file() and secret in path.read_text("latin1")
    ]
    assert holding == [key]


def test_key_of_a_variable(google, sandbox, earthkey, key):
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    token = earthkey.token("earthengine", **variable)
    assert earthkey.token("earthengine", **variable) == token
    assert sandbox.grants(google.REALM, JWT_BEARER) == 1
    assert earthkey("token", "earthengine").code == 3
    # The client leaves the scope empty here, which Google refuses; only a key passed on works.
    theirs = google.run("python", "-c", INITIALIZE, PROJECT, **variable)
    assert "Please authorize access" in theirs.stderr


def test_application_default_credentials_serve_both(google, earthkey, person):
    """Who has no Earth Engine file is who `gcloud` says."""
    earthkey.login("google", *LOOPBACK, "--quota-project", PROJECT, person=person())
    assert google.subject(earthkey.token("earthengine")) == "sandbox-ada"
    assert int(google.python(INITIALIZE)) > 0


def test_earthengine_file_goes_before_application_default_credentials(
    google, earthkey, person, their_login
):
    earthkey.login("google", *LOOPBACK, "--no-quota-project", person=person(username="grace"))
    their_login(username="ada")
    assert google.subject(earthkey.token("earthengine")) == "sandbox-ada"
    assert google.subject(earthkey.token("google")) == "sandbox-grace"


@pytest.mark.parametrize(("offset", "side"), [(3600, "behind"), (-3600, "ahead")])
def test_clock_an_hour_off(google, sandbox, earthkey, key, offset, side):
    """What Google says of it names neither the clock nor the time; its `Date` tells both."""
    sandbox.settings(google.REALM, clock_offset=offset)
    done = earthkey("token", "earthengine", GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert (done.code, done.stdout) == (4, ""), done.stderr
    assert "clock" in done.stderr
    assert re.search(rf"3(59|60)\d seconds {side}", done.stderr), done.stderr
    theirs = google.run("python", "-c", SERVICE_ACCOUNT, key, PROJECT)
    assert "Token must be a short-lived token" in theirs.stderr


def test_deleted_key(google, sandbox, earthkey, key):
    sandbox.expire(google.REALM, "keys")
    done = earthkey("token", "earthengine", GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert (done.code, done.stdout) == (4, ""), done.stderr
    assert "Invalid JWT Signature" in done.stderr
    assert "~/key.json" in done.stderr
    assert "make a new key" in done.stderr
    assert sandbox.grants(google.REALM, JWT_BEARER, status=400) == 1


DAMAGED_KEYS = {
    "torn file": lambda key: json.dumps(key)[:-40],
    "torn key": lambda key: json.dumps(key | {"private_key": key["private_key"][:60]}),
    "no account": lambda key: json.dumps(key | {"client_email": 7}),
}


@pytest.mark.parametrize("damage", DAMAGED_KEYS.values(), ids=DAMAGED_KEYS.keys())
def test_key_that_does_not_parse(google, earthkey, key, damage):
    key.write_text(damage(json.loads(key.read_text())))
    done = earthkey("token", "earthengine", GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert (done.code, done.stdout) == (7, ""), done.stderr
    assert "/key.json" in done.stderr
    assert google.requests(TOKEN, status=None) == []


def test_browser_is_opened(google, earthkey, browser, person):
    """By an address that says nothing to who reads the list of processes."""
    arguments = ("login", "earthengine", *LOOPBACK)
    with earthkey.terminal(*arguments, BROWSER=str(browser.program)) as terminal:
        start = browser.opened()
        assert urlsplit(start).query == ""
        visit = person().visit(start)
        assert terminal.finish() == 0, terminal.screen
    page = google.played("https://accounts.google.com/o/oauth2/auth")
    assert visit.redirected_abroad.startswith(f"{page}?")
    assert google.subject(earthkey.token("earthengine")) == "sandbox-ada"


def test_paste(google, sandbox, earthkey, person):
    with earthkey.terminal("login", "earthengine", "--flow", "paste") as terminal:
        visit = person(stays_home=True).visit(terminal.expect_url(sandbox.url))
        terminal.type(visit.redirected_abroad)
        assert terminal.finish() == 0, terminal.screen
    assert int(google.python(INITIALIZE, PROJECT)) > 0


def test_quiet_login_is_finished_later(google, sandbox, earthkey, person):
    done = earthkey("login", "earthengine", "--quiet", "--project", PROJECT)
    assert done.code == 0, done.stderr
    page = next(word for word in done.stdout.split() if word.startswith(sandbox.url))
    address = person(stays_home=True).visit(page).redirected_abroad
    done = earthkey("login", "earthengine", "--finish", stdin=f"{address}\n")
    assert done.code == 0, done.stderr
    assert int(google.python(INITIALIZE)) > 0


def test_next_port_where_the_default_is_taken(sandbox, google, earthkey, path, person):
    """It is gcloud's default, too."""
    with earthkey.terminal("login", "earthengine", "--flow", "loopback", "--no-browser") as first:
        url = first.expect_url(sandbox.url)
        second, _ = earthkey.login("earthengine", "--flow", "loopback", person=person())
        visits = (second, person().visit(url))
        assert first.finish() == 0, first.screen
    assert stored(path)["refresh_token"]
    assert len({urlsplit(visit.url).netloc for visit in visits}) == 2


def test_declined_login_writes_nothing(google, sandbox, earthkey, path, person):
    with earthkey.terminal("login", "earthengine", *LOOPBACK, "--no-browser") as terminal:
        person(decision="deny").visit(terminal.expect_url(sandbox.url))
        assert terminal.finish() == 4, terminal.screen
    assert not path.exists()


def test_login_without_earth_engine_is_none(google, sandbox, earthkey, path, person):
    """Theirs would store it, and every use of it would fail."""
    needed = "https://www.googleapis.com/auth/earthengine"
    sandbox.settings(google.REALM, withheld_scopes=[needed])
    with earthkey.terminal("login", "earthengine", *LOOPBACK, "--no-browser") as terminal:
        person().visit(terminal.expect_url(sandbox.url))
        assert terminal.finish() == 4, terminal.screen
    assert f"`{needed}` was left out" in terminal.screen
    assert not path.exists()


def test_scope_that_was_unticked(google, sandbox, earthkey, path, person):
    """What was not granted cannot be refreshed: it must not stand in the file as if it were."""
    drive = "https://www.googleapis.com/auth/drive"
    sandbox.settings(google.REALM, withheld_scopes=[drive])
    _, screen = earthkey.login("earthengine", *LOOPBACK, person=person())
    assert "drive" in screen
    assert drive not in stored(path)["scopes"]
    assert int(google.python(INITIALIZE, PROJECT)) > 0
