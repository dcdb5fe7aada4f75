"""requests in a hard brownout: every kind of client reads where to go, and the account's own address is not touched."""

from dataclasses import dataclass

import requests
from edge import CA, JOBS, RUN, TOKEN_12345

NEW = "https://acme.us1.dbt.com"


@dataclass
class Status:
    """As the Terraform provider unmarshals an error: `{"status": {"code": int, "user_message": string}}`."""

    code: int
    is_success: bool
    user_message: str
    developer_message: str


session = requests.Session()
session.verify = CA
session.headers["Authorization"] = f"Token {TOKEN_12345}"

for answer in [session.get(JOBS, timeout=20), session.post(RUN, data=b"{}", timeout=20)]:
    assert answer.status_code == 410, answer.text
    status = Status(**answer.json()["status"])
    assert status.code == 410 and not status.is_success, status
    assert NEW in status.user_message[:120], status
    fields = answer.headers
    assert fields["Cache-Control"] == "no-store" and "Retry-After" not in fields, fields
    assert fields["Proxy-Status"] == 'cellgate; error=http_request_denied; details="brownout bo-1"', fields
    assert fields["Deprecation"] == "@1769904000" and fields["Sunset"].startswith("Sun, 01 Nov 2026"), fields
    assert fields["X-Cellgate-Outcome"] == "not-forwarded", fields
    assert answer.links["canonical"]["url"] == NEW + answer.request.path_url, answer.links
    assert answer.json()["replacement"] == NEW + answer.request.path_url
    assert answer.json()["brownout"]["id"] == "bo-1", answer.text

answer = session.post("https://metadata.cloud.getdbt.com/graphql", data=b"{}", timeout=20)
error = answer.json()["errors"][0]
assert answer.status_code == 410 and answer.json()["data"] is None, answer.text
assert "https://acme.metadata.us1.dbt.com" in error["message"][:120], error
assert error["extensions"]["code"] == "brownout_hard", error

# Whoever is not known to belong to the account does not learn its address.
stranger = requests.get(JOBS, headers={"Authorization": "Token dbtc_" + "0" * 40}, verify=CA, timeout=20)
assert stranger.status_code == 410 and "acme" not in stranger.text + str(stranger.headers), stranger.text
assert "account-url-migration" in stranger.json()["status"]["user_message"][:120], stranger.text

page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
answer = session.get(JOBS, headers=page, timeout=20)
assert answer.status_code == 410 and answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.headers
assert f'<a href="{NEW}/api/v2/accounts/12345/jobs/' in answer.text, answer.text
assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

# A script of a listed origin may read the answer and its fields; its preflight goes to the cell.
origin = {"Origin": "https://app.example.com"}
answer = session.get(JOBS, headers=origin, timeout=20)
assert answer.status_code == 410 and answer.headers["Access-Control-Allow-Origin"] == origin["Origin"], answer.headers
exposed = answer.headers["Access-Control-Expose-Headers"]
assert all(name in exposed for name in ["Sunset", "Link", "Proxy-Status"]), exposed
foreign = session.get(JOBS, headers={"Origin": "https://evil.example.com"}, timeout=20)
assert "Access-Control-Allow-Origin" not in foreign.headers, foreign.headers
asked = {**origin, "Access-Control-Request-Method": "POST"}
preflight = requests.options(RUN, headers=asked, verify=CA, timeout=20)
assert preflight.status_code == 200 and preflight.json()["cell"] == "cell-2", preflight.text

# The new address, as the answer said it.
answer = session.get(session.get(JOBS, timeout=20).json()["replacement"], timeout=20)
assert answer.status_code == 200 and answer.json()["cell"] == "cell-2", answer.text
assert "Sunset" not in answer.headers
