"""The app started as a program, and what its users do in a browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from lirec.processing.video import VideoWriter, open_video

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
CHROMIUM = shutil.which("chromium")
WAIT = 60_000  # ms; results take a few seconds, on a busy machine many
LONG = 180_000  # ms; a second of video takes a few seconds, on a busy machine many


@contextmanager
def running_app(log: Path, **environment):
    """The address of an app of its own; on leaving it has stopped, and written no traceback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as output:
        start = time.perf_counter()
        app = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output
        )
        try:
            while not _answers(url):
                assert app.poll() is None, log.read_text()
                assert time.perf_counter() - start < 2 * WAIT / 1000, log.read_text()
                time.sleep(0.1)
            print(f"\nfirst page after {time.perf_counter() - start:.1f} s")
            yield url
        finally:
            app.terminate()
            app.wait(20)
    assert "Traceback" not in log.read_text(), log.read_text()


def _answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def open_tab(browser, address, name, width=1280, height=1000):
    """A page that shows a tab."""
    from playwright.sync_api import TimeoutError  # tests are skipped where there is no playwright

    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(address)
    menu = page.locator(".overflow-menu").first
    hidden = menu.locator("button", has_text=name)  # in a narrow window
    tab = page.get_by_role("tab", name=name)
    tab.or_(hidden).first.wait_for(state="attached")
    for last in (False, False, True):  # while the page is laid out tabs go into the menu, and come back
        try:
            if hidden.count():
                menu.locator("button").first.click(timeout=10_000)
                hidden.click(timeout=10_000)
            else:
                tab.click(timeout=10_000)
            break
        except TimeoutError:
            if last:
                raise
    return page


def upload(page, file, where="#photo"):
    page.wait_for_selector(f"{where} input[type=file]", state="attached")
    page.set_input_files(f"{where} input[type=file]", file)


def message(page, text):
    page.get_by_text(text).first.wait_for(timeout=WAIT)
    assert "Traceback" not in page.inner_text("body")


def download(page, kind) -> bytes:
    with page.expect_download(timeout=WAIT) as event:
        page.click(f"#download-{kind}")
    return Path(event.value.path()).read_bytes()


def printed(log: Path, text: str) -> bool:
    """Whether the app prints a text, now or soon."""
    for _ in range(WAIT // 500):
        if text in log.read_text():
            return True
        time.sleep(0.5)
    return False


def beginning(path, seconds, times=1):
    """The first `seconds` of an example driver, several times over, with its sound."""
    frames = [frame.image for frame in open_video(EXAMPLES / "talking.mp4") if frame.time < seconds]
    with VideoWriter(path, frames[0].shape[1::-1], 25, EXAMPLES / "talking.mp4") as writer:
        for frame in frames * times:
            writer.write(frame)
    return path
