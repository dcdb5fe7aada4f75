"""urllib3's own Retry in a soft brownout: it waits as Retry-After says, and the call succeeds once the brownout is over."""

import subprocess
import sys
import time

import requests
from edge import CA, JOBS, TOKEN_12345
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

CELLGATE, SOCKET = sys.argv[3], sys.argv[4]

session = requests.Session()
session.verify = CA
session.headers["Authorization"] = f"Token {TOKEN_12345}"

answer = session.get(JOBS, timeout=20)
assert answer.status_code == 503 and answer.headers["Cache-Control"] == "no-store", answer.headers
said = int(answer.headers["Retry-After"])
# An hour at most, and a tenth more of chance.
assert 3600 <= said <= 3960, said
assert answer.json()["status"]["code"] == 503, answer.text

waits = []


def wait(seconds):
    """In place of sleeping: an operator ends the brownout meanwhile."""
    waits.append(seconds)
    words = [CELLGATE, "brownout", "cancel", "bo-1", "--reason", "a customer calls", "--name", "ann", "--socket", SOCKET]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


time.sleep = wait
session.mount("https://", HTTPAdapter(max_retries=Retry(total=2, status_forcelist=[503])))
answer = session.get(JOBS, timeout=20)
assert answer.status_code == 200 and answer.json()["cell"] == "cell-2", answer.text
assert len(waits) == 1 and 3600 <= waits[0] <= 3960, waits
