"""google-auth with Gemini's API: a login of a person's own client, and its quota project."""

from __future__ import annotations

import json

import pytest
import requests

LOOPBACK = ("--flow", "loopback:0")
PROJECT = "sandbox-project"
MODELS = "generativelanguage.googleapis.com/v1beta/models"
SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform"
    " https://www.googleapis.com/auth/generative-language.retriever"
)
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

LOGIN = """
import json, sys
from google_auth_oauthlib.flow import InstalledAppFlow

client, scopes, path = sys.argv[1:]
flow = InstalledAppFlow.from_client_secrets_file(client, scopes=scopes.split())
credentials = flow.run_local_server(port=0, open_browser=False)
with open(path, "w") as file:
    json.dump(json.loads(credentials.to_json()) | {"type": "authorized_user"}, file)
"""

LIST_MODELS = """
import sys, google.auth
from google.auth.transport.requests import AuthorizedSession

credentials, _ = google.auth.default(scopes=sys.argv[1].split())
answer = AuthorizedSession(credentials).get(
    "https://generativelanguage.googleapis.com/v1beta/models"
)
print(answer.status_code, answer.json())
"""


@pytest.fixture
def client(google, machine):
    """A client of a person's own."""
    return google.client_file(machine.home / "client_secret.json")


@pytest.fixture
def path(machine):
    """Where the login is kept: no program of Google's has a place for it."""
    return machine.home / ".local" / "state" / "earthkey" / "gemini" / "default.json"


@pytest.fixture
def our_login(google, earthkey, client, person):
    """Our login by loopback, which a person completes."""

    def run(*args):
        arguments = ("gemini", "--client-id-file", str(client), *LOOPBACK, *args)
        earthkey.login(*arguments, person=person())

    return run


@pytest.fixture
def their_file(google, machine, client, person):
    """The login of a script with `InstalledAppFlow`, as Application Default Credentials."""
    path = machine.home / "token.json"
    google.login(LOGIN, client, SCOPES, path, person=person())
    return path


def test_sandbox_serves_them(google, their_file):
    """The counterpart alone: what fails here is no fault between the two programs."""
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(their_file)}
    assert "requires a quota project" in google.python(LIST_MODELS, SCOPES, **variable)
    variable["GOOGLE_CLOUD_QUOTA_PROJECT"] = PROJECT
    assert google.python(LIST_MODELS, SCOPES, **variable).startswith("200 ")
    [entry] = google.requests(MODELS)
    assert entry["quota_project"] == PROJECT


def test_sandbox_serves_their_service_account(google, machine):
    key = google.key_file(machine.home / "key.json")
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    assert google.python(LIST_MODELS, SCOPES, **variable).startswith("200 ")


def test_our_login_serves_them(google, sandbox, path, our_login):
    """The quota project is the client's own unless told otherwise."""
    our_login()
    assert path.stat().st_mode & 0o777 == 0o600
    content = json.loads(path.read_text())
    assert (content["type"], content["quota_project_id"]) == ("authorized_user", PROJECT)
    before = path.read_bytes()
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}
    assert google.python(LIST_MODELS, SCOPES, **variable).startswith("200 ")
    [entry] = google.requests(MODELS)
    assert entry["quota_project"] == PROJECT
    assert sandbox.grants(google.REALM, "refresh_token") == 1
    assert path.read_bytes() == before


def test_our_header_serves_anybody(google, sandbox, earthkey, our_login):
    our_login()
    lines = earthkey("header", "gemini").stdout.splitlines()
    token = earthkey.token("gemini")
    assert lines == [f"Authorization: Bearer {token}", f"x-goog-user-project: {PROJECT}"]
    headers = dict(line.split(": ") for line in lines)
    answer = requests.get(google.played(f"https://{MODELS}"), headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert sandbox.grants(google.REALM, "refresh_token") == 0


def test_our_login_serves_check(google, earthkey, our_login):
    our_login()
    done = earthkey("check", "gemini")
    assert done.code == 0, done.stderr
    assert "model" in done.stdout
    [entry] = [*google.requests(MODELS), *google.requests(MODELS.replace("v1beta", "v1"))]
    assert entry["quota_project"] == PROJECT


def test_another_quota_project(earthkey, path, our_login):
    our_login("--quota-project", "another-project")
    assert json.loads(path.read_text())["quota_project_id"] == "another-project"
    lines = earthkey("header", "gemini").stdout.splitlines()
    assert lines[1:] == ["x-goog-user-project: another-project"]


def test_key_of_a_variable(google, sandbox, machine, earthkey):
    key = google.key_file(machine.home / "key.json")
    variable = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    token = earthkey.token("gemini", **variable)
    assert earthkey.token("gemini", **variable) == token
    assert sandbox.grants(google.REALM, JWT_BEARER) == 1
    done = earthkey("check", "gemini", **variable)
    assert done.code == 0, done.stderr


def test_quota_project_that_google_refuses(earthkey, our_login):
    our_login("--quota-project", "sandbox-disabled")
    done = earthkey("check", "gemini")
    assert (done.code, done.stdout) == (6, ""), done.stderr
    assert "https://console.developers.google.com/" in done.stderr
    assert "sandbox-disabled" in done.stderr


def test_login_needs_a_client(google, earthkey):
    """Google gives these scopes to nobody's client but one's own."""
    done = earthkey("login", "gemini", *LOOPBACK, "--no-browser")
    assert done.code == 6, done.stderr
    assert "--client-id-file" in done.stderr
    assert google.requests("oauth2.googleapis.com/token", status=None) == []


def test_web_client_is_refused(google, machine, earthkey, path):
    """Google would refuse its redirect on a page that nobody understands."""
    web = google.client_file(machine.home / "web.json", kind="web")
    done = earthkey("login", "gemini", "--client-id-file", str(web), *LOOPBACK, "--no-browser")
    assert done.code == 6, done.stderr
    assert "Desktop" in done.stderr
    assert "web.json" in done.stderr
    assert not path.exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"installed": {}}', '{"installed": {"client_id": 7}}']
)
def test_client_file_that_is_none(google, machine, earthkey, content):
    file = machine.home / "client.json"
    file.write_text(content)
    done = earthkey("login", "gemini", "--client-id-file", str(file), *LOOPBACK, "--no-browser")
    assert done.code == 6, done.stderr
    assert "client.json" in done.stderr


def test_our_logout(earthkey, path, our_login):
    our_login()
    done = earthkey("logout", "gemini", "--yes")
    assert done.code == 0, done.stderr
    assert not path.exists()
    done = earthkey("token", "gemini")
    assert (done.code, done.stdout) == (3, "")
    assert "earthkey login gemini" in done.stderr
