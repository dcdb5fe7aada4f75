"""requests: kept connections, uploads with and without a length, refusals, and no redirects."""

import json

import requests
from edge import CA, JOBS, RUN, TOKEN_12345, arrived

session = requests.Session()
session.verify = CA
session.headers["Authorization"] = f"Token {TOKEN_12345}"

connections = set()
for _ in range(3):
    answer = session.get(JOBS, timeout=20)
    answer.raise_for_status()
    described = answer.json()
    arrived(described, "cell-2", "12345")
    assert described["target"] == answer.request.path_url, described
    assert answer.headers["Deprecation"] == "@1769904000", answer.headers
    assert answer.headers["Sunset"] == "Sun, 01 Nov 2026 00:00:00 GMT", answer.headers
    assert answer.links["successor-version"]["url"].startswith("https://acme.us1.dbt.com/api/v2/"), answer.links
    assert not answer.history
    connections.add(described["connection"])
assert len(connections) == 1, "the edge keeps its connection to the cell"

answer = session.post(RUN, data=json.dumps({"cause": "x"}), timeout=20)
assert answer.json()["method"] == "POST" and answer.json()["body"]["bytes"] == 14, answer.text

# No length: chunked.
answer = session.put(RUN, data=(b"x" * 10_000 for _ in range(100)), timeout=20)
assert answer.json()["body"]["bytes"] == 1_000_000, answer.text

answer = session.get("https://cloud.getdbt.com/x?account_id=1001", headers={"X-Sim": "body=3000000;chunked"}, timeout=20)
assert len(answer.content) == 3_000_000

answer = requests.get("https://cloud.getdbt.com/api/v2/accounts/12345/", verify=CA, timeout=20)
assert answer.status_code == 401 and answer.json()["status"]["code"] == 401, answer.text
answer = session.get("https://cloud.getdbt.com/api/v2/accounts/999999999/", timeout=20)
assert answer.status_code == 404 and "account-url-migration" in answer.json()["status"]["user_message"], answer.text
try:
    session.get("https://cloud.getdbt.com/x?account_id=1001", headers={"X-Sim": "body=100000;cut=10"}, timeout=20)
except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
    pass
else:
    raise AssertionError("half an answer must not look whole")
