"""A real browser without a window, which reaches this machine only.

It is Debian's `chromium` or any Chrome on the path, else the one that `make browser` has installed.
Playwright drives it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CARRIED = Path(__file__).parents[1] / ".venv-chromium" / "browser"  # by a package
# Of the POSIX locale, some builds make a language tag that no script takes.
ENVIRONMENT = os.environ | {"LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8"}


def _browser() -> str | None:
    if (found := next(filter(None, map(shutil.which, NAMES)), None)) is not None:
        return found
    carried = CARRIED / "chromium"
    if not carried.exists():
        return None
    ENVIRONMENT["LD_LIBRARY_PATH"] = str(CARRIED / "al2023" / "lib")
    if not Path("/etc/fonts").exists():
        ENVIRONMENT["FONTCONFIG_PATH"] = str(CARRIED / "fonts")
    runs = subprocess.run([carried, "--version"], env=ENVIRONMENT, capture_output=True, check=False)
    return str(carried) if runs.returncode == 0 else None


BROWSER = _browser()
# What tests that open pages need.
NEEDED = [
    pytest.mark.skipif(
        BROWSER is None,
        reason="no Chromium or Chrome: run `make browser` (Debian: apt-get install chromium)",
    ),
    pytest.mark.skipif(
        find_spec("axe_playwright_python") is None,
        reason="axe-core is not installed: run `make install`",
    ),
]
# As on a machine without the internet: no other name leads anywhere.
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


# What was asked for and is not wanted any more: by a page that was left, or asked again; so are
# pages called that turn out to be downloads.
GIVEN_UP = "net::ERR_ABORTED"


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser, started."""
    with sync_playwright() as driver:
        # Without its sandbox, which a container's root cannot have.
        options = ["--no-sandbox", "--disable-dev-shm-usage", _ALONE]
        started = driver.chromium.launch(executable_path=BROWSER, args=options, env=ENVIRONMENT)
        try:
            yield started
        finally:
            started.close()


def complaints(page: Page) -> list[str]:
    """A list that fills with what goes wrong on the page from now on.

    It holds errors and warnings of the console (the content policy's refusals are among them),
    exceptions of scripts, requests that failed, and requests to anywhere but this machine.
    """
    found: list[str] = []
    page.on("console", lambda m: m.type in {"error", "warning"} and found.append(m.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: (
            request.failure == GIVEN_UP or found.append(f"{request.url}: {request.failure}")
        ),
    )
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("http://127.0.0.1:", "data:")) or found.append(request.url)
        ),
    )
    return found


def barriers(page: Page) -> list[str]:
    """What keeps people from reading or using the page, by axe-core's rules of WCAG 2.2 AA."""
    source = files("axe_playwright_python") / "axe.min.js"
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate(
        """() => axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa",
          "best-practice"]})"""
    )
    return [
        f"{each['id']}: {each['help']} ({node['target']}) {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


SCREENS = Path("build/screens")  # of the last run, to look at


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)
