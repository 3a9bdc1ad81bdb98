"""Debian's Chromium without a window, and small servers for a folder: what the browser tests share."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver

SCRIPT_SECONDS = 300
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@contextmanager
def served(folder: Path, isolated: bool = True, asked: list[str] | None = None) -> Iterator[str]:
    """The folder's address. isolated: with the headers that let a page have threads; else as `python -m http.server`.
    asked: gets the paths that are asked for."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in ISOLATED.items() if isolated else ():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            if asked is not None:
                asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium(size: tuple[int, int] = (1100, 800), *arguments: str) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    given = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking")
    for argument in (*given, f"--window-size={size[0]},{size[1]}", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_script_timeout(SCRIPT_SECONDS)
    try:
        yield driver
    finally:
        driver.quit()


def run(driver: webdriver.Chrome, body: str, *arguments: Any) -> Any:
    """What an async function of this body returns; `given` are its arguments. RuntimeError if it throws."""
    script = f"""const [given, done] = arguments;
        (async () => {{ {body} }})().then(
            (value) => done({{ value }}), (error) => done({{ error: String(error?.stack ?? error) }}))"""
    answer = driver.execute_async_script(script, list(arguments))
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer.get("value")
