"""A person at a browser, by HTTP alone: follows links and fills in the real pages' forms."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from machine import DEADLINE

TOO_MANY_PAGES = 20
DECLINING = ("abort", "cancel")


@dataclass
class Visit:
    """Where a visit ended."""

    url: str
    status: int
    text: str
    redirected_abroad: str | None
    """The first redirect that left the origin the visit began at."""


@dataclass
class Person:
    """Somebody with an account, who agrees or does not."""

    username: str = "ada"
    password: str = "sandbox"
    decision: str = "allow"
    user_code: str | None = None
    stays_home: bool = False
    """Stops at the first redirect to another origin instead of following it."""

    def visit(self, url: str) -> Visit:
        """Opens the address and answers every form until there is none."""
        browser = requests.Session()
        browser.trust_env = False
        origin = urlsplit(url)[:2]
        abroad = None
        declined = False
        method, data = "GET", None
        for _ in range(TOO_MANY_PAGES):
            answer = browser.request(method, url, data=data, allow_redirects=False, timeout=30)
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                method, data = "GET", None
                if urlsplit(url)[:2] != origin:
                    abroad = abroad or url
                    if self.stays_home:
                        return Visit(url, answer.status_code, "", abroad)
                continue
            form = _form_of(answer.text)
            # Who has declined is done, whatever the page offers next.
            if form is None or declined:
                return Visit(url, answer.status_code, answer.text, abroad)
            url = urljoin(url, form.action)
            pressed = self._press(form)
            declined = pressed.get("decision") == "deny" or bool(pressed.keys() & set(DECLINING))
            method, data = form.method, self._fill(form) | pressed
        raise AssertionError(f"{TOO_MANY_PAGES} pages and no end: {url}\n{answer.text}")

    def _fill(self, form: Form) -> dict[str, str]:
        answers = {
            "username": self.username,
            "login": self.username,
            "password": self.password,
            "user_code": self.user_code,
        }
        return {name: value or answers.get(name) or "" for name, value in form.fields.items()}

    def _press(self, form: Form) -> dict[str, str]:
        """Returns what the button adds that this person presses."""
        if ("decision", self.decision) in form.buttons:
            return {"decision": self.decision}
        declining = [button for button in form.buttons if button[0] in DECLINING]
        agreeing = [button for button in form.buttons if button[0] and button not in declining]
        return dict((declining if self.decision == "deny" and declining else agreeing)[:1])


class RobotBrowser:
    """A browser that opens nothing: it tells the test what it was asked to open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        told = folder / "told"
        os.mkfifo(told)
        # Held open for writing too, so that reading waits for a line instead of ending.
        self._told = os.open(told, os.O_RDWR)
        self.program = folder / "browser"
        self.program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{told}"\n')
        self.program.chmod(0o755)

    def opened(self) -> str:
        """Waits for the URL that the browser was started with."""
        ready, _, _ = select.select([self._told], [], [], DEADLINE)
        assert ready, "no browser was started"
        [url] = os.read(self._told, 65536).decode().splitlines()
        return url

    def close(self) -> None:
        os.close(self._told)


@dataclass
class Form:
    """One form of a page."""

    identifier: str | None
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


def _form_of(page: str) -> Form | None:
    """Returns the page's first form that posts."""
    parser = _Forms()
    parser.feed(page)
    return next((form for form in parser.forms if form.method == "POST"), None)


class _Forms(HTMLParser):
    """Collects forms, with the buttons that belong to one by `form=` too."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._open = Form(
                values.get("id"), values.get("action", ""), values.get("method", "get").upper()
            )
            self.forms.append(self._open)
        elif tag == "input" and values.get("type") not in ("submit", "button"):
            self._add_field(values)
        elif tag in ("button", "input") and (form := self._owner(values)):
            form.buttons.append((values.get("name", ""), values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def _add_field(self, values: dict[str, str]) -> None:
        form = self._owner(values)
        unchecked = values.get("type") in ("checkbox", "radio") and "checked" not in values
        if form and "name" in values and not unchecked:
            form.fields[values["name"]] = values.get("value", "")

    def _owner(self, values: dict[str, str]) -> Form | None:
        if "form" in values:
            return next((form for form in self.forms if form.identifier == values["form"]), None)
        return self._open
