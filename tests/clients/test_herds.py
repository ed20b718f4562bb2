"""Many processes and one login: one request of ours, whoever else is at it."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from conftest import VENV
from soak import EARTHENGINE, EARTHSCOPE, GOOGLE, LOGINS, OPENEO, Crowd, until

HELD_BACK_MS = 1000
"""How long an answer is held back where unmodified clients are to spend a token that has just
been spent: they need less from the start to their request."""

GRACE = 30

EARTHSCOPE_SDK = """
import sys
from earthscope_sdk import EarthScopeClient

with EarthScopeClient() as client:
    client.ctx.auth_flow
    print("ready", flush=True)
    sys.stdin.readline()
    client.ctx.auth_flow.refresh_if_necessary()
    print(client.ctx.auth_flow.access_token)
"""

OPENEO_SDK = """
import sys, openeo

connection = openeo.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
connection.authenticate_oidc(max_poll_time=1)
"""


# One that cuts the connection, and one that never ends what it began to say.
DEAD = {"cut": {"drop": "before"}, "stall": {"stall": True}}


def pytest_generate_tests(metafunc):
    is_full = metafunc.config.getoption("--full")
    if "login" in metafunc.fixturenames:
        logins = [*LOGINS.values(), EARTHENGINE] if is_full else [EARTHSCOPE]
        if metafunc.function is test_one_request_for_all and not is_full:
            # Where no token is spent, one request is what is asked for all the same.
            logins.append(GOOGLE)
        metafunc.parametrize("login", logins, ids=lambda login: login.name)
    if "sdk" in metafunc.fixturenames:
        metafunc.parametrize("sdk", SDKS)
    if "death" in metafunc.fixturenames:
        # Twice twenty seconds until a stalled answer is given up.
        metafunc.parametrize("death", DEAD if is_full else ["cut"])


def test_one_request_for_all(soak, tally, size, login):
    soak.sign_in_and_expire(login)
    done = soak.herd(size.herd, "token", login.name)
    requests = soak.refreshes(login)
    succeeded = sum(one.code == 0 for one in done)
    tally(
        f"herd on an expired login: {login.name}",
        processes=size.herd,
        requests=len(requests),
        succeeded=succeeded,
    )
    assert len(requests) == 1
    assert succeeded == size.herd, [one for one in done if one.code]
    [token] = {one.stdout.strip() for one in done}
    assert soak.accepts(token)
    assert soak.lives(login)


def test_one_request_for_all_who_force_one(soak, tally, size, login):
    """`--refresh` asks for a token newer than the one at hand, not for one of its own."""
    soak.sign_in(login)
    old = soak.run("token", login.name).stdout.strip()
    done = soak.herd(size.herd, "token", login.name, "--refresh")
    requests = soak.refreshes(login)
    tally(
        f"herd of forced refreshes: {login.name}",
        processes=size.herd,
        requests=len(requests),
        succeeded=sum(one.code == 0 for one in done),
    )
    assert len(requests) == 1
    assert all(one.code == 0 for one in done), [one for one in done if one.code]
    assert {one.stdout.strip() for one in done}.isdisjoint({old})
    assert soak.lives(login)


def test_one_request_for_a_refused_login(soak, tally, size):
    """Those who wait take the refusal, and those who come later are told of it."""
    login = EARTHSCOPE
    soak.sign_in_and_expire(login)
    soak.sandbox.revoke(login.realm)
    start = time.monotonic()
    done = soak.herd(size.herd, "token", login.name)
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        later = range(size.callers - size.herd)
        done += pool.map(lambda _: soak.run("token", login.name), later)
    # A refusal is remembered for a minute, then for two, and so on.
    minutes = int((time.monotonic() - start) // 60)
    requests = soak.refreshes(login)
    tally(
        "callers on a refused login",
        callers=len(done),
        requests=len(requests),
        told_so=sum(one.code == 4 for one in done),
    )
    assert 1 <= len(requests) <= 1 + minutes
    for one in done:
        assert (one.code, one.stdout) == (4, ""), one
        assert "earthkey login earthscope" in one.stderr


def test_one_failure_for_all(soak, tally, size, death):
    """The first asks, and asks once more; nobody does so again for himself."""
    login = EARTHSCOPE
    soak.sign_in_and_expire(login)
    soak.fault(login, times=2 * size.herd, **DEAD[death])
    done = soak.herd(size.herd, "token", login.name)
    requests = soak.refreshes(login)
    tally(
        f"waiters on a dead server: {death}",
        processes=size.herd,
        requests=len(requests),
        told_so=sum(one.code == 5 for one in done),
    )
    assert len(requests) == 2
    for one in done:
        assert (one.code, one.stdout) == (5, ""), one
        assert "hint: " in one.stderr


def test_homes_of_their_own_and_one_given_token(soak, tally, size):
    """Containers that are all given one token by a variable, and share only our folder."""
    login = EARTHSCOPE
    soak.sign_in(login)
    home = soak.machine.home / login.home
    given = json.loads(home.read_text())["refresh_token"]
    assert soak.run("logout", login.name, "--yes").code == 0
    assert not home.exists()
    shared = soak.directory / "shared"
    shared.mkdir(mode=0o700)

    def container(number):
        own = soak.directory / f"container-{number}"
        own.mkdir(mode=0o700, exist_ok=True)
        return {
            "HOME": str(own),
            "EARTHKEY_HOME": str(shared),
            "ES_OAUTH2__REFRESH_TOKEN": given,
        }

    soak.forget()
    containers, rounds = 8, 3
    served = []
    for number in range(rounds):
        force = ["--refresh"] if number else []
        done = soak.herd(containers, "token", login.name, *force, each=container)
        assert all(one.code == 0 for one in done), [one for one in done if one.code]
        [token] = {one.stdout.strip() for one in done}
        served.append(token)
        assert len(soak.refreshes(login)) == number + 1
    requests = soak.refreshes(login)
    tally(
        "one given token, homes of their own",
        processes=containers,
        rounds=rounds,
        requests=len(requests),
        refused=sum(entry["status"] != 200 for entry in requests),
        succeeded=containers * len(served),
    )
    assert all(entry["status"] == 200 for entry in requests)
    assert all(one != other for one, other in pairwise(served))
    for number in range(containers):
        assert not list((soak.directory / f"container-{number}").rglob("tokens.json"))


SDKS = {
    "earthscope": (EARTHSCOPE, EARTHSCOPE_SDK),
    "openeo": (OPENEO, OPENEO_SDK),
}


class Mixed:
    """Rounds of processes of ours and of an unmodified client, all on one expired login, in which
    we come first and they do, in turn.

    Each round collides by construction: answers are held back for longer than it takes to read the home
    and to ask, so that whoever has no lease sends the token that the first one has spent. Without
    grace the second use ends the login, whoever makes it. So it is lost in every round, with us as
    with the SDK alone, and how often says nothing of us. What can be told is whether it was ended
    by a second request of ours.
    """

    def __init__(self, soak, realm, rounds, grace):
        self.login, script = SDKS[realm]
        self._soak = soak
        self._theirs = (VENV / "python", "-c", script, f"{soak.sandbox.url}/openeo")
        self._grace = grace
        self.lost = self.our_requests = self.their_requests = self.succeeded = 0
        self.second_uses = 0
        self.rounds = rounds

    def run(self, ours: int, theirs: int) -> Mixed:
        for number in range(self.rounds):
            self._round(ours, theirs, are_we_first=number % 2 == 0)
        return self

    def _round(self, ours, theirs, are_we_first):
        soak, login = self._soak, self.login
        soak.sandbox.settings(login.realm, grace_seconds=self._grace)
        soak.sign_in_and_expire(login)
        soak.fault(login, times=ours + theirs, delay_ms=HELD_BACK_MS)
        with (
            Crowd(soak.machine, soak.directory) as we,
            Crowd(soak.machine, soak.directory) as they,
        ):
            for _ in range(theirs):
                they.add(*self._theirs, waits_itself=True)
            for _ in range(ours):
                we.add(soak.program, "-v", "token", login.name)
            they.until_ready()
            first, second = (we, they) if ours and are_we_first else (they, we)
            first.go()
            until(lambda: soak.refreshes(login), "nobody came first")
            # Its answer is held back, so that these come before it.
            second.go()
            of_ours = we.wait()
            they.wait()
        soak.settle()
        requests = soak.refreshes(login)
        sent = sum(one.stderr.count("sending the grant") for one in of_ours)
        self.our_requests += sent
        self.their_requests += len(requests) - sent
        self.succeeded += sum(one.code == 0 for one in of_ours)
        if sent > 1:
            self.second_uses += ends_by_a_second_of_ours(requests)
        # From now on a token that somebody has spent counts as spent.
        soak.sandbox.settings(login.realm, grace_seconds=0)
        soak.forget_faults()
        self.lost += not soak.lives(login)

    def told(self):
        return {
            "rounds": self.rounds,
            "lost": self.lost,
            "our_requests": self.our_requests,
            "their_requests": self.their_requests,
            "ours_succeeded": self.succeeded,
            "lost_by_a_second_request_of_ours": self.second_uses,
        }


def ends_by_a_second_of_ours(requests):
    """Returns whether a login was ended by another request of ours than the first.

    What ends it is the first request that is refused. EarthScope's SDK, whose requests cannot be
    told from ours, leaves us the access token, too, so that there is no second one.
    """
    form = ["grant_type", "refresh_token", "client_id"]
    ours = [entry for entry in requests if entry["form_keys"] == form]
    assert len(ours) > 1, "more than one request of ours, in a form that is not ours"
    refused = [entry for entry in requests if entry["status"] != 200]
    return bool(refused) and refused[0] in ours[1:]


def test_with_their_processes(soak, tally, size, sdk):
    """Whoever takes no lease can end a login where nothing is forgiven; our part in it is one
    request at most that anybody has a right to make. A second one of ours that ends a login would be
    ours to answer for: there is none.
    """
    forgiven = Mixed(soak, sdk, size.rounds, GRACE).run(size.ours, size.theirs)
    tally(f"ours and {sdk} SDK, grace {GRACE} s", **forgiven.told())
    assert forgiven.our_requests and forgiven.their_requests
    assert forgiven.lost == 0
    assert forgiven.succeeded == size.ours * size.rounds
    if not size.is_full:
        # Without grace it is about how often, beside how often without us: at full size.
        return
    strict = Mixed(soak, sdk, size.rounds, 0).run(size.ours, size.theirs)
    tally(f"ours and {sdk} SDK, no grace", **strict.told())
    alone = Mixed(soak, sdk, size.rounds, 0).run(0, size.ours + size.theirs)
    tally(f"{sdk} SDK alone, no grace", **alone.told())
    assert strict.their_requests and strict.our_requests and alone.their_requests
    assert strict.second_uses == 0
    # Each further request of ours takes a token that somebody else has written meanwhile.
    assert strict.our_requests <= (1 + size.theirs) * size.rounds
