"""JupyterLab on loopback with a token, and a headless Chromium that works in it like a user."""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import papermill
from playwright.sync_api import Browser, ConsoleMessage, Locator, sync_playwright
from playwright.sync_api import TimeoutError as BrowserTimeout

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Render all cells, not only the visible ones; do not ask about news.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none", "recordTiming": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def find_browser() -> str | None:
    """$CPR_BROWSER, a Chromium or Chrome on the path, Playwright's own if installed, or None."""
    names = [os.environ[name] for name in ("CPR_BROWSER",) if name in os.environ] or BROWSERS
    found = next(filter(None, map(shutil.which, names)), None)
    if found:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@contextlib.contextmanager
def start_browser() -> Iterator[Browser]:
    """Start the browser; the caller has checked that there is one."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def start_lab(folder: Path) -> Iterator[str]:
    """Serve the notebooks in a folder; yields the address of a notebook, with {stem} for its name.

    The user's own Jupyter settings are neither read nor changed: settings are in `folder`, too.
    """
    homes = {f"JUPYTER_{name}_DIR": str(folder / f".jupyter/{name.lower()}") for name in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / ".jupyter/settings")}
    homes |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / ".jupyter/workspaces"), "IPYTHONDIR": str(folder / ".ipython")}
    for name, values in SETTINGS.items():
        path = folder / f".jupyter/settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    options = {"ServerApp.ip": "127.0.0.1", "ServerApp.port": 0, "ServerApp.root_dir": folder}
    options |= {"IdentityProvider.token": token, "ServerApp.allow_root": True, "ServerApp.open_browser": False}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **homes}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        url = _address(Path(homes["JUPYTER_RUNTIME_DIR"]), server)
        yield f"{url}lab/workspaces/{{stem}}/tree/{{stem}}.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


def _address(runtime: Path, server: subprocess.Popen, seconds: float = 60) -> str:
    for _ in range(int(seconds * 10)):
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(path.read_text())["url"]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start; see lab.log beside {runtime.parent.parent}")


def prepare(notebook: Path, folder: Path, **parameters: object) -> str:
    """Copy a notebook with other parameters, without running it; returns its name without suffix."""
    papermill.execute_notebook(notebook, folder / notebook.name, parameters, prepare_only=True, progress_bar=False)
    return notebook.stem


class Page:
    """A page in the browser; records its requests and the browser's errors."""

    def __init__(self, browser: Browser, address: str, width: int = 1280, height: int = 900, scheme: str = "light"):
        self.page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page.set_default_timeout(90_000)  # other tests may be running
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.goto(address)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def errors(self) -> list[str]:
        """Errors shown by a notebook in the page; their type depends on the version of JupyterLab."""
        error, stderr = (
            self.page.locator(f"[data-mime-type='application/vnd.jupyter.{n}']") for n in ("error", "stderr")
        )
        return error.all_inner_texts() + stderr.filter(has_text=re.compile(r"Traceback|Error:")).all_inner_texts()

    def close(self) -> None:
        """Close the page."""
        self.page.close()


class Lab(Page):
    """A notebook open in JupyterLab."""

    def __init__(self, browser: Browser, address: str, notebook: str):
        super().__init__(browser, address.format(stem=notebook))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)

    def run_all(self, seconds: float) -> None:
        """Run > Run All Cells, as a user would, and wait until the last cell has run."""
        self.page.wait_for_selector(".jp-NotebookPanel-toolbar [data-status=idle]", timeout=60_000)
        prompts, cells = self.page.locator(".jp-CodeCell .jp-InputPrompt"), 0
        for _ in range(int(seconds)):
            before, cells = cells, prompts.count()  # JupyterLab adds them to the page one by one
            busy = any("*" in text for text in prompts.all_inner_texts())  # perhaps from a second click
            if cells == before and not busy:
                if prompts.last.inner_text().strip("[]: ").isdigit() or self.errors():
                    break
                self._click_run_all()  # an early click does nothing, or runs one cell
            self.page.wait_for_timeout(1000)
        else:
            raise TimeoutError(f"in {seconds} s these cells were run: {prompts.all_inner_texts()}")
        self.page.wait_for_timeout(500)  # pictures of the last cell

    def _click_run_all(self) -> None:
        self._answer()
        with contextlib.suppress(BrowserTimeout):  # a dialog may cover the menu
            self.page.get_by_role("menuitem", name="Run", exact=True).click(timeout=5000)
            self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=5000)
        started = self.page.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"[*\d]"))
        with contextlib.suppress(BrowserTimeout):  # a second click would run all again and clear the outputs
            started.first.wait_for(timeout=15_000)
        self.page.wait_for_timeout(3000)

    def _answer(self) -> None:
        """On a slow machine JupyterLab may ask for a kernel: accept its proposal."""
        for dialog in self.page.locator("dialog.jp-Dialog").all():
            text = dialog.inner_text()
            if "kernel" not in text.lower():
                raise RuntimeError(f"JupyterLab asks: {text}")
            dialog.locator(".jp-mod-accept").click()

    def explorer(self, number: int) -> Locator:
        """Explorer `number` of the page."""
        return self.page.locator(".jp-OutputArea-output > .widget-vbox, .jp-OutputArea-output .widget-vbox").nth(number)

    def picture(self, explorer: Locator) -> str:
        """The picture of an explorer, as HTML."""
        return explorer.locator(".widget-html-content").last.inner_html()

    def alt(self, explorer: Locator) -> str:
        """The alternative text of an explorer's picture."""
        return explorer.locator(".widget-html-content img").last.get_attribute("alt")

    def press(self, explorer: Locator, slider: str, key: str = "ArrowRight", seconds: float = 30) -> float:
        """Move a slider with the keyboard; returns the seconds until the picture changed."""
        before, handle = self.picture(explorer), self._control(explorer, slider).locator(".noUi-handle")
        handle.focus()
        start = time.monotonic()
        handle.press(key)
        return self._changed(explorer, before, start, seconds)

    def choose(self, explorer: Locator, menu: str, option: str, seconds: float = 30) -> float:
        """Choose from a menu; returns the seconds until the picture changed."""
        before, start = self.picture(explorer), time.monotonic()
        self._control(explorer, menu).locator("select").select_option(option)
        return self._changed(explorer, before, start, seconds)

    def _control(self, explorer: Locator, name: str) -> Locator:
        label = self.page.locator(".widget-label", has_text=name)
        return explorer.locator(".widget-inline-hbox", has=label)

    def _changed(self, explorer: Locator, before: str, start: float, seconds: float) -> float:
        while time.monotonic() - start < seconds:
            if self.picture(explorer) != before:
                return time.monotonic() - start
            self.page.wait_for_timeout(10)
        raise TimeoutError(f"the picture did not change in {seconds} s")


if __name__ == "__main__":  # is there a browser?
    found = find_browser()
    print(found or "no Chromium or Chrome was found or could be installed: install one, or set CPR_BROWSER to its path")
    sys.exit(found is None)
