"""A headless Chromium, driven over its DevTools pipe with the standard library alone.

Chromium reads commands from file descriptor 3 and writes answers and events to 4, each a JSON document that ends with a NUL.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Trouble(Exception):
    """The page did not do what it was waited for."""


class Browser:
    """One Chromium and one page in it. Everything is bounded by `patience`, in seconds."""

    def __init__(self, program, patience=120):
        self.patience = patience
        self.folder = tempfile.mkdtemp(prefix="vecraft-browser-")
        commands_in, self._commands = os.pipe()
        self._answers, answers_out = os.pipe()
        # First out of the way of 3 and 4, which either may be.
        ends = [os.dup2(commands_in, 70), os.dup2(answers_out, 71)]

        def arrange():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        arguments = [
            "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            # What a browser asks its maker for is no request of the page's.
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
            "--user-data-dir=" + self.folder, "about:blank",
        ]
        self.process = subprocess.Popen(
            [program, *arguments], preexec_fn=arrange, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        for end in [commands_in, answers_out, *ends]:
            os.close(end)
        self._buffer = bytearray()
        self._next = 0
        self.events = []
        target = self.send("Target.createTarget", {"url": "about:blank"}, of_page=False)["targetId"]
        self._session = None
        self._session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True}, of_page=False)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.send(domain + ".enable")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._commands)
        os.close(self._answers)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Commands and events

    def send(self, method, parameters=None, of_page=True):
        """Sends a command and returns its result. Events that come before it are kept."""
        self._next += 1
        number = self._next
        message = {"id": number, "method": method, "params": parameters or {}}
        if of_page:
            message["sessionId"] = self._session
        view = memoryview(json.dumps(message).encode() + b"\0")
        while view:
            view = view[os.write(self._commands, view):]
        end = time.monotonic() + self.patience
        while True:
            answer = self._read(end, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise Trouble(f"{method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _read(self, end, waiting_for):
        while True:
            cut = self._buffer.find(b"\0")
            if cut >= 0:
                message = bytes(self._buffer[:cut])
                del self._buffer[:cut + 1]
                return json.loads(message)
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise Trouble(f"{waiting_for}: the browser does not answer")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise Trouble(f"{waiting_for}: the browser has ended")
            self._buffer += chunk

    # The page

    def evaluate(self, expression):
        """The value of an expression in the page; promises are awaited."""
        answer = self.send(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True, "userGesture": True})
        if "exceptionDetails" in answer:
            raise Trouble(f"{expression[:200]}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def wait(self, expression, what=None):
        """Until an expression is true."""
        end = time.monotonic() + self.patience
        while True:
            # What it looks at may not be there yet.
            if self.evaluate(f"(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"):
                return
            if time.monotonic() > end:
                raise Trouble(f"waited for {what or expression}; the page says: {self.evaluate('document.body?.innerText')}")
            time.sleep(0.05)

    def open(self, url):
        self.send("Page.navigate", {"url": url})

    def size(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def scheme(self, name):
        """"light" or "dark", as the system would prefer."""
        self.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})

    def press(self, key, code=0, text=None, modifiers=0):
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **event, **({"text": text} if text else {})})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def tab(self):
        self.press("Tab", 9)

    def enter(self):
        self.press("Enter", 13, "\r")

    def click(self, x, y):
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"]:
            self.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def type(self, text):
        self.send("Input.insertText", {"text": text})

    def screenshot(self, path, whole=True):
        picture = self.send("Page.captureScreenshot", {"captureBeyondViewport": whole, "format": "png"})
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))

    # What went on

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """Errors and warnings of scripts, of the network and of the policy for contents."""
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(" ".join(str(each.get("value") or each.get("description")) for each in parameters["args"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        return found
