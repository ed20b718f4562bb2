"""The harness itself: what it relies on works without our program, and it can fail."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets as random
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def test_person_approves_a_device(oidc_provider, person):
    device = oidc_provider.post("/device/auth", client_id="native", scope="openid offline_access")
    device = device.json()
    visit = person().visit(device["verification_uri_complete"])
    assert "successful" in visit.text
    answer = _poll(oidc_provider, device)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refresh_token"] in oidc_provider.issued("refresh_token")


def test_person_types_the_code_of_a_device(oidc_provider, person):
    device = oidc_provider.post("/device/auth", client_id="native", scope="openid").json()
    person(user_code=device["user_code"]).visit(device["verification_uri"])
    assert _poll(oidc_provider, device).status_code == 200


def test_person_declines_a_device(oidc_provider, person):
    device = oidc_provider.post("/device/auth", client_id="native", scope="openid").json()
    person(decision="deny").visit(device["verification_uri_complete"])
    assert _poll(oidc_provider, device).json()["error"] == "access_denied"


def test_person_is_sent_back_with_a_code(oidc_provider, person):
    verifier = random.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    query = {
        "client_id": "native",
        "response_type": "code",
        "redirect_uri": "http://127.0.0.1:9/callback",
        "scope": "openid offline_access",
        "prompt": "consent",
        "state": "from-the-test",
        "code_challenge": challenge.decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    visit = person(stays_home=True).visit(f"{oidc_provider.issuer}/auth?{urlencode(query)}")
    returned = parse_qs(urlsplit(visit.redirected_abroad).query)
    assert returned["state"] == ["from-the-test"]
    assert returned["iss"] == [oidc_provider.issuer]
    answer = oidc_provider.post(
        "/token",
        grant_type="authorization_code",
        client_id="native",
        code=returned["code"][0],
        redirect_uri=query["redirect_uri"],
        code_verifier=verifier,
    )
    assert "refresh_token" in answer.json(), answer.text


def test_environment_is_empty(machine):
    done = machine.run("/usr/bin/env")
    assert {line.split("=")[0] for line in done.stdout.split()} == {"HOME", "PATH", "LANG"}


def test_terminal_is_a_terminal(machine):
    script = "test -t 0 && test -t 2 && printf 'Code: ' >/dev/tty && read code && test $code = 42"
    with machine.terminal("/bin/sh", "-c", script) as terminal:
        terminal.expect("Code: ")
        terminal.type("42")
        assert terminal.finish() == 0


def test_terminal_reads_through_colours(machine):
    script = r"printf '\033[1mSee \033[4mhttp://x.test/?\033[33mcode\033[0m=1\033[0m\n'"
    with machine.terminal("/bin/sh", "-c", script) as terminal:
        assert terminal.expect_url() == "http://x.test/?code=1"


@pytest.mark.parametrize(
    "content",
    [
        '{"access_token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLXRoZS10ZXN0"}',
        '{"refresh_token": "opaque-and-long-enough-to-be-one"}',
        "ledger sandbox-0123456789abcdefghijkl bytes",
        "record ya29.a0-0123456789_abcdefghijkl.mnop bytes",
    ],
)
def test_leak_is_noticed(machine, secrets, content):
    """A token of a file in the home may stand in no watched text, not even its second half."""
    (machine.home / "tokens").write_text(content)
    secret = content.split('"')[-2] if '"' in content else content.split()[1]
    watched = type(secrets)(machine.home)
    watched.watch("harmless", "signed in as ada, secrets: ****")
    assert watched.leaks() == []
    watched.watch("error text", f"invalid token: …{secret[-25:]}")
    assert len(watched.leaks()) == 1


def test_leak_of_a_private_key_is_noticed(machine, secrets):
    """Any of its lines, but neither what every key ends with nor the name of the key."""
    lines = ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "q0pXv7Jk9sLw2RtYbNcDfGhZ")
    pem = "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""))
    key = {"private_key_id": "sandbox-0123456789abcdef01234567", "private_key": pem}
    (machine.home / "key.json").write_text(json.dumps(key))
    watched = type(secrets)(machine.home)
    watched.watch("harmless", f"key {key['private_key_id']}: …-----END PRIVATE KEY-----\n")
    assert watched.leaks() == []
    watched.watch("error text", f"bad key: {lines[1]}")
    assert len(watched.leaks()) == 1


def _poll(oidc_provider, device):
    return oidc_provider.post(
        "/token", grant_type=DEVICE_GRANT, client_id="native", device_code=device["device_code"]
    )
