"""google-auth: Application Default Credentials, in gcloud's file and by its variable."""

from __future__ import annotations

import json

import pytest

LOOPBACK = ("--flow", "loopback:0")
PROJECT = "sandbox-project"
PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = "oauth2.googleapis.com/token"

GCLOUD = {
    "installed": {
        "client_id": "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
        "client_secret": "d-FL95Q19q7MQmFpd7hHD0Ty",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "redirect_uris": ["http://localhost"],
    }
}

LOGIN = """
import sys
from google_auth_oauthlib.flow import InstalledAppFlow

client, scopes, path = sys.argv[1:]
flow = InstalledAppFlow.from_client_secrets_file(client, scopes=scopes.split())
credentials = flow.run_local_server(port=0, open_browser=False)
with open(path, "w") as file:
    file.write(credentials.to_json())
"""

REFRESH = """
import sys
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials

credentials = Credentials.from_authorized_user_file(sys.argv[1])
credentials.refresh(Request())
print(credentials.token)
"""

DEFAULT = """
import json, sys, google.auth
from google.auth.transport.requests import Request

credentials, project = google.auth.default(scopes=sys.argv[1:] or None)
credentials.refresh(Request())
print(json.dumps([credentials.token, credentials.quota_project_id]))
"""

GCLOUD_SHAPE = """
import json, sys
from google.oauth2.credentials import Credentials

# As gcloud's own `DumpADC` does.
text = Credentials.from_authorized_user_file(sys.argv[1]).to_json(
    strip=("token", "token_uri", "scopes", "expiry")
)
print(
    json.dumps(
        json.loads(text) | {"type": "authorized_user"},
        sort_keys=True, indent=2, separators=(",", ": "),
    ),
    end="",
)
"""


@pytest.fixture
def path(machine):
    """Where gcloud keeps them."""
    return machine.home / ".config" / "gcloud" / "application_default_credentials.json"


@pytest.fixture
def client(google, machine):
    """A client of a person's own."""
    return google.client_file(machine.home / "client_secret.json")


@pytest.fixture
def token_json(google, machine, client, person):
    """What a program that uses `InstalledAppFlow` keeps."""
    path = machine.home / "token.json"
    google.login(LOGIN, client, PLATFORM, path, person=person())
    return path


@pytest.fixture
def gcloud_file(google, machine, path, person):
    """The file as gcloud writes it, by gcloud's client."""
    client, token = machine.home / "gcloud.json", machine.home / "gcloud-token.json"
    client.write_text(json.dumps(GCLOUD))
    google.login(LOGIN, client, PLATFORM, token, person=person())
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(google.run("python", "-c", GCLOUD_SHAPE, token).stdout)
    path.chmod(0o600)
    token.unlink()
    return path


@pytest.fixture
def our_login(google, earthkey, person):
    """Our login by loopback, which a person completes."""

    def run(*args, username="ada", **environment):
        person_ = person(username=username)
        earthkey.login("google", *LOOPBACK, *args, person=person_, **environment)

    return run


def stored(path):
    """Returns gcloud's file, which must be private."""
    assert path.stat().st_mode & 0o777 == 0o600
    return json.loads(path.read_text())


def test_nothing_else_is_reached(google):
    """What the clients might ask beyond the sandbox stays on this machine, and fails."""
    elsewhere = """
import requests, urllib.request
for get in (requests.get, urllib.request.urlopen):
    try:
        get("https://example.org/")
    except OSError as error:
        print(error)
"""
    assert google.python(elsewhere).count("403") == 2


def test_sandbox_serves_them(google, sandbox, token_json):
    """The counterpart alone: what fails here is no fault between the two programs."""
    theirs = json.loads(token_json.read_text())
    assert theirs["scopes"] == [PLATFORM]
    assert google.subject(theirs["token"]) == "sandbox-ada"
    fresh = google.python(REFRESH, token_json)
    assert fresh != theirs["token"]
    assert google.subject(fresh) == "sandbox-ada"
    assert sandbox.grants(google.REALM, "authorization_code") == 1
    assert sandbox.grants(google.REALM, "refresh_token") == 1


def test_sandbox_serves_their_default(google, gcloud_file):
    token, quota_project = json.loads(google.python(DEFAULT))
    assert google.subject(token) == "sandbox-ada"
    assert quota_project is None


def test_sandbox_serves_their_service_account(google, sandbox, machine):
    key = google.key_file(machine.home / "key.json")
    [token, _] = json.loads(
        google.python(DEFAULT, PLATFORM, GOOGLE_APPLICATION_CREDENTIALS=str(key))
    )
    assert token.startswith("ya29.")
    assert sandbox.grants(google.REALM, JWT_BEARER) == 1


def test_our_login_serves_them(google, sandbox, path, our_login):
    our_login("--quota-project", PROJECT)
    before = path.read_bytes()
    token, quota_project = json.loads(google.python(DEFAULT))
    assert google.subject(token) == "sandbox-ada"
    assert quota_project == PROJECT
    assert path.read_bytes() == before
    assert sandbox.grants(google.REALM, "refresh_token") == 1


def test_our_file_is_gclouds(path, our_login):
    """To the byte: keys in order, two blanks of indent, no final newline, nothing that is ours."""
    our_login("--quota-project", PROJECT)
    content = stored(path)
    expected = {
        "account": "",
        "client_id": GCLOUD["installed"]["client_id"],
        "client_secret": GCLOUD["installed"]["client_secret"],
        "quota_project_id": PROJECT,
        "refresh_token": content["refresh_token"],
        "type": "authorized_user",
        "universe_domain": "googleapis.com",
    }
    assert content | {"account": ""} == expected
    assert path.read_text() == json.dumps(content, indent=2, separators=(",", ": "), sort_keys=True)


def test_no_quota_project(google, earthkey, path, our_login):
    our_login("--no-quota-project")
    assert "quota_project_id" not in stored(path)
    assert json.loads(google.python(DEFAULT))[1] is None
    header = earthkey("header", "google")
    assert header.stdout.splitlines() == [f"Authorization: Bearer {earthkey.token('google')}"]


def test_own_client(google, path, client, our_login):
    our_login("--client-id-file", str(client), "--no-quota-project")
    installed = json.loads(client.read_text())["installed"]
    assert stored(path)["client_id"] == installed["client_id"]
    assert google.subject(json.loads(google.python(DEFAULT))[0]) == "sandbox-ada"


def test_their_folder_is_found(google, machine, earthkey, path, our_login):
    variable = {"CLOUDSDK_CONFIG": str(machine.home / "cloud")}
    our_login("--no-quota-project", **variable)
    assert not path.exists()
    token, _ = json.loads(google.python(DEFAULT, **variable))
    assert google.subject(token) == "sandbox-ada"
    assert google.subject(earthkey.token("google", **variable)) == "sandbox-ada"
    assert earthkey("token", "google").code == 3


def test_their_file_serves_us(google, sandbox, earthkey, gcloud_file):
    before = gcloud_file.read_bytes()
    token = earthkey.token("google")
    assert google.subject(token) == "sandbox-ada"
    assert earthkey.token("google") == token
    [login] = earthkey.json("status", "google")
    assert (login["login"], login["state"]) == ("google", "valid")
    assert login["home"].endswith("/gcloud/application_default_credentials.json")
    assert sandbox.grants(google.REALM, "refresh_token") == 1
    assert gcloud_file.read_bytes() == before


def test_their_token_json_serves_us(google, earthkey, path, token_json):
    """It lacks no more than its type to be Application Default Credentials."""
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(json.loads(token_json.read_text()) | {"type": "authorized_user"}))
    before = path.read_bytes()
    assert google.subject(earthkey.token("google")) == "sandbox-ada"
    assert google.subject(json.loads(google.python(DEFAULT))[0]) == "sandbox-ada"
    assert path.read_bytes() == before


def test_file_of_a_variable_goes_first(google, machine, earthkey, person, gcloud_file):
    client, other = machine.home / "gcloud.json", machine.home / "other.json"
    google.login(LOGIN, client, PLATFORM, other, person=person(username="grace"))
    other.write_text(json.dumps(json.loads(other.read_text()) | {"type": "authorized_user"}))
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(other)}
    assert google.subject(json.loads(google.python(DEFAULT, **variable))[0]) == "sandbox-grace"
    assert google.subject(earthkey.token("google", **variable)) == "sandbox-grace"
    assert google.subject(earthkey.token("google")) == "sandbox-ada"


def test_file_of_a_variable_must_be_there(google, machine, earthkey, gcloud_file):
    """As with them: nobody shall work on as somebody else because of a misspelt name."""
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(machine.home / "misspelt.json")}
    done = earthkey("token", "google", **variable)
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert "GOOGLE_APPLICATION_CREDENTIALS" in done.stderr
    assert "was not found" in google.run("python", "-c", DEFAULT, **variable).stderr


def test_address_in_their_file_is_not_followed(google, earthkey, gcloud_file):
    """The library asks Google, whatever the file says; a grant has no business elsewhere."""
    elsewhere = {"auth_uri": "https://x.test/auth", "token_uri": "https://x.test/token"}
    gcloud_file.write_text(json.dumps(json.loads(gcloud_file.read_text()) | elsewhere))
    done = earthkey("token", "google")
    assert google.requests("x.test/token", status=None) == [], done.stderr
    assert google.subject(json.loads(google.python(DEFAULT))[0]) == "sandbox-ada"
    assert google.subject(done.stdout.strip()) == "sandbox-ada"


def test_client_file_is_not_taken_for_a_login(google, earthkey, client):
    """The two files that people download from Google's console are easily mixed up."""
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(client)}
    done = earthkey("token", "google", **variable)
    assert done.code in (6, 7), done.stderr
    assert "--client-id-file" in done.stderr
    assert "does not have a valid type" in google.run("python", "-c", DEFAULT, **variable).stderr


def test_their_quota_project_is_ours(google, earthkey, gcloud_file):
    """`gcloud auth application-default set-quota-project` writes the file anew."""
    token = earthkey.token("google")
    theirs = json.loads(gcloud_file.read_text()) | {"quota_project_id": "their-project"}
    gcloud_file.write_text(json.dumps(theirs, sort_keys=True, indent=2))
    header = earthkey("header", "google")
    assert header.code == 0, header.stderr
    assert header.stdout.splitlines()[1:] == ["x-goog-user-project: their-project"]
    assert google.subject(token) == "sandbox-ada"


def test_quota_project_of_the_variable(google, earthkey, our_login):
    our_login("--quota-project", PROJECT)
    variable = {"GOOGLE_CLOUD_QUOTA_PROJECT": "another-project"}
    assert json.loads(google.python(DEFAULT, **variable))[1] == "another-project"
    header = earthkey("header", "google", **variable)
    assert header.stdout.splitlines()[1:] == ["x-goog-user-project: another-project"]


def test_key_of_a_variable(google, sandbox, machine, earthkey):
    key = google.key_file(machine.home / "key.json")
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    token = earthkey.token("google", **variable)
    assert earthkey.token("google", **variable) == token
    assert google.subject(token) == google.subject(
        json.loads(google.python(DEFAULT, PLATFORM, **variable))[0]
    )
    assert sandbox.grants(google.REALM, JWT_BEARER) == 2


def test_their_login_while_ours_is_adopted(google, earthkey, gcloud_file, our_login):
    assert google.subject(earthkey.token("google")) == "sandbox-ada"
    content = gcloud_file.read_bytes()
    our_login("--no-quota-project", "--force", username="grace")
    assert google.subject(earthkey.token("google")) == "sandbox-grace"
    gcloud_file.unlink()
    gcloud_file.write_bytes(content)
    assert google.subject(earthkey.token("google")) == "sandbox-ada"
    assert google.subject(json.loads(google.python(DEFAULT))[0]) == "sandbox-ada"


def test_our_logout_is_theirs(google, earthkey, path, our_login):
    our_login("--no-quota-project")
    done = earthkey("logout", "google", "--yes")
    assert done.code == 0, done.stderr
    assert not path.exists()
    theirs = google.run("python", "-c", DEFAULT)
    assert "Your default credentials were not found" in theirs.stderr
    assert earthkey("token", "google").code == 3


def test_our_logout_revokes(google, machine, earthkey, path, our_login):
    """Whoever has a copy of the file has nothing then."""
    our_login("--no-quota-project")
    copy = machine.home / "copy.json"
    copy.write_bytes(path.read_bytes())
    done = earthkey("logout", "google", "--revoke", "--yes")
    assert done.code == 0, done.stderr
    assert len(google.requests("oauth2.googleapis.com/revoke")) == 1
    theirs = google.run("python", "-c", REFRESH, copy)
    assert "Token has been expired or revoked" in theirs.stderr


def test_whoami_and_check(earthkey, our_login):
    our_login("--no-quota-project")
    for command in ("whoami", "check"):
        done = earthkey(command, "google")
        assert done.code == 0, done.stderr
        assert "ada@sandbox.test" in done.stdout


def test_revoked_login_costs_one_request(google, sandbox, earthkey, gcloud_file):
    before = gcloud_file.read_bytes()
    sandbox.revoke(google.REALM)
    for _ in range(3):
        done = earthkey("token", "google")
        assert (done.code, done.stdout) == (4, ""), done.stderr
        assert "earthkey login google" in done.stderr
    assert sandbox.grants(google.REALM, "refresh_token", status=400) == 1
    assert gcloud_file.read_bytes() == before


def test_reauthentication_is_told(google, sandbox, earthkey, gcloud_file):
    """A company's rule that ends sessions: the login is not broken, a person must come again."""
    sandbox.settings(google.REALM, reauthentication=True)
    done = earthkey("token", "google")
    assert (done.code, done.stdout) == (4, ""), done.stderr
    assert "earthkey login google" in done.stderr
    assert "Reauthentication is needed" in google.run("python", "-c", DEFAULT).stderr


@pytest.mark.parametrize(
    "content",
    ["", '{"type": "authorized_user"', '{"type": "authorized_user"}', '{"type": "robot"}'],
)
def test_damaged_file_is_named(google, earthkey, path, content):
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)
    done = earthkey("token", "google")
    assert done.code in (6, 7), done.stderr
    assert done.stdout == ""
    assert "/.config/gcloud/application_default_credentials.json" in done.stderr
    assert path.read_text() == content
    assert google.run("python", "-c", DEFAULT).code == 1
    assert google.requests(TOKEN, status=None) == []
