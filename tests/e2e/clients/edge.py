"""What the client scripts share: every host name leads to the edge, and the authority is the tests' own."""

import socket
import sys

PORT, CA = int(sys.argv[1]), sys.argv[2]

TOKEN_12345 = "dbtc_" + "FAKE1" * 10
TOKEN_AB123 = "dbtu_" + "FAKE0" * 10
RUN = "https://cloud.getdbt.com/api/v2/accounts/12345/jobs/722218/run/"
JOBS = "https://cloud.getdbt.com/api/v2/accounts/12345/jobs/?include_related=[a,b]&x=%2F"

_resolve = socket.getaddrinfo


def _to_the_edge(host, port, *args, **kwargs):
    return _resolve("127.0.0.1", PORT, *args, **kwargs)


socket.getaddrinfo = _to_the_edge


def arrived(described, cell, account):
    """Checks a cell's description of what reached it, and returns its fields."""
    fields = {name.lower(): value for name, value in described["headers"]}
    assert described["cell"] == cell, described
    assert fields["x-cellgate-account"] == account, fields
    assert fields["x-cellgate-cell"] == cell, fields
    return fields
