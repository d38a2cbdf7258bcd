"""A page of Debian's Chromium that fails its test on errors, pictures of it, and a JupyterLab of its own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOTS = Path(__file__).with_name("shots")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
VIEWPORT = {"width": 1280, "height": 900}  # px
START_S = 60  # how long JupyterLab may take to answer
# What a page may log without harm, as parts of the message; see each line's reason.
HARMLESS: tuple[str, ...] = ()
# Every cell is rendered wherever it is scrolled to, and nothing is asked of the network.
LAB_SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": '{"windowingMode": "none"}',
    "@jupyterlab/apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: `url` without a slash at its end, its `token`, and the `folder` of its notebooks."""

    url: str
    token: str
    folder: Path

    def address(self, notebook: str) -> str:
        """Where a notebook of the folder opens, in a workspace without what was open before."""
        return f"{self.url}/lab/tree/{notebook}?reset&token={self.token}"


def chromium() -> str:
    """The browser to drive: $CHROMIUM, else the first one on the path; the test skips where there is none."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        pytest.skip("no Chromium found: apt-get install chromium, or set CHROMIUM to the path of one")
    return path


@pytest.fixture(scope="session")
def browser():
    """One Chromium for the session."""
    reason = "Playwright is missing: make test-browser installs it, or pip install -e '.[browser]'"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser):
    """A page of 1280x900 px; errors in its console and uncaught ones fail the test at its end."""
    context = browser.new_context(viewport=VIEWPORT)
    opened = context.new_page()
    errors = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    yield opened
    context.close()
    assert [error for error in errors if not any(part in error for part in HARMLESS)] == []


@pytest.fixture(scope="session")
def shot() -> Callable[..., Path]:
    """`shot(page, name)` writes tests/browser/shots/NAME.png, which stays after the run; further options are
    those of Playwright's `page.screenshot`. A locator does in place of a page."""
    SHOTS.mkdir(exist_ok=True)

    def take(page, name: str, **options) -> Path:
        path = SHOTS / f"{name}.png"
        page.screenshot(path=path, **options)
        return path

    return take


def private_environment(folder: Path, token: str) -> dict[str, str]:
    """An environment in which Jupyter and IPython read and write below `folder` alone, not in the user's home."""
    settings = folder / "settings"
    for plugin, text in LAB_SETTINGS.items():
        path = settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return os.environ | {
        "JUPYTER_TOKEN": token,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(ROOT),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(server: subprocess.Popen, url: str, log: Path) -> None:
    """Raises RuntimeError with the server's log where it ends or stays silent for START_S."""
    ends = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < ends:
        try:
            if httpx.get(f"{url}/api", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab gave no answer within {START_S} s:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with settings of its own; its kernels end with it."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    port, token, log = free_port(), secrets.token_hex(16), folder / "log.txt"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebooks}"]
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            env=private_environment(folder, token),
            cwd=notebooks,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_it_answers(server, f"http://127.0.0.1:{port}", log)
        yield Lab(f"http://127.0.0.1:{port}", token, notebooks)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
