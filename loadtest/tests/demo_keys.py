"""Presses keys of the demonstration at a pseudo terminal, and prints what it showed as one line of JSON.

    demo_keys.py keys DEMO FOLDER       each key in turn, then q
    demo_keys.py SIGNAL DEMO FOLDER     lets it run, and sends INT (by Ctrl-C), TERM or HUP
    demo_keys.py dumb DEMO FOLDER       a terminal that cannot be drawn on
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

# Longer than anything takes on a machine that builds something meanwhile; only a failure waits for it.
PATIENCE = 120


class Terminal:
    def __init__(self, command, term):
        self.output = ""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.master, self.slave = master, slave
        self.before = termios.tcgetattr(slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            os.environ.update(TERM=term, NO_COLOR="1")
            os.execv(command[0], command)

    def read(self):
        if select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536).decode("utf-8", "replace")

    def picture(self):
        """The last whole picture of the live view, as text."""
        pictures = self.output.split("\x1b[1;1H")
        return plain(pictures[-2]) if len(pictures) > 2 else ""

    def until(self, what, find, text=None):
        """Waits until `find` gives something for the picture, or for everything since `text`."""
        began, end = len(self.output), time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.read()
            found = find(self.picture() if text is None else plain(self.output[text:]))
            if found:
                return found
        sys.exit(f"waited in vain for {what}; the last that came:\n{plain(self.output[-6000:])}")

    def press(self, key):
        before = len(self.output)
        os.write(self.master, key.encode())
        return before

    def page(self, key, what, *patterns, again=False):
        """A page that a key opens, and that is left again. With `again` it is opened until all of it is there."""

        def whole(text):
            return text if "any key: back" in text else None

        end = time.monotonic() + PATIENCE
        while True:
            before = self.press(key)
            text = self.until(what, whole, before)
            missing = [pattern for pattern in patterns if not re.search(pattern, text)]
            if missing and not (again and time.monotonic() < end):
                sys.exit(f"{what} lacks {missing}:\n{text}")
            self.press("x")
            if not missing:
                return text

    def ended(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self.read()
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return {
                    "code": os.waitstatus_to_exitcode(status),
                    "sane": termios.tcgetattr(self.slave) == self.before,
                    "left": self.output.rfind("\x1b[?1049l") > self.output.rfind("\x1b[?1049h"),
                    "cursor": self.output.rfind("\x1b[?25h") > self.output.rfind("\x1b[?25l"),
                }
        sys.exit("it does not end")


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def counts(picture):
    """Requests and failures of each cell."""
    rows = re.findall(r"^(cell-\d|shared) +[\d.]+ +\d+ % +\d+ ms +(\d+) +(\d+)", picture, re.M)
    return {name: [int(requests), int(failed)] for name, requests, failed in rows}


def outage(picture):
    pair = r" +(\d+) requests, +(\d+) failed"
    own, others = re.search("its own accounts:" + pair, picture), re.search("everybody else:" + pair, picture)
    return own and others and [[int(n) for n in found.groups()] for found in (own, others)]


def all_asked(picture):
    found = counts(picture)
    return found if len(found) == 4 and all(requests > 10 for requests, _ in found.values()) else None


def keys(terminal):
    told = {"before": terminal.until("traffic to four cells", all_asked)}
    terminal.press("k")

    def felt(picture):
        found = outage(picture) if "is DEAD" in picture and "Retry-After" in picture else None
        return found if found and found[0][1] > 20 and found[1][0] > 60 else None

    told["dead"] = terminal.until("failures of the shared cell and of nobody else", felt)
    terminal.page("d", "the deletion", r"REFUSED", r"removal: cells that served are gone: cell-3", r"again: unchanged")
    # The books are written every ten seconds: on a fast machine all of the above takes less.
    terminal.page("r", "the report", r"ACTIVE +12345", r"\$ .*report --state-dir", again=True)
    terminal.page("l", "the lines", r"Paste these lines", r"curl -sS", r"environment is dead")
    terminal.page("s", "the pages", r"http://127.0.0.1:\d+/status", r"/console")
    terminal.press("k")
    terminal.until("the shared cell's return", lambda text: re.search(r"shared cell answers again|It answers", text))
    told["back"] = terminal.until("counts", lambda text: counts(text))
    terminal.press("q")
    return told


def main():
    what, demo, folder = sys.argv[1:]
    terminal = Terminal([demo, "--apart", folder], "dumb" if what == "dumb" else "xterm-256color")
    told = {}
    if what == "keys":
        told = keys(terminal)
    elif what == "dumb":
        terminal.until("printed lines", lambda text: "Ctrl-C stops everything" in text, 0)
        told["drawn"] = "\x1b" in terminal.output
        os.write(terminal.master, b"\x03")
    else:
        terminal.until("traffic to four cells", all_asked)
        if what == "INT":
            os.write(terminal.master, b"\x03")
        else:
            os.kill(terminal.pid, getattr(signal, "SIG" + what))
    told["end"] = terminal.ended()
    print(json.dumps(told))


main()
