"""A canary in each field of what only libraries do well: HTTP/2 with a body in pieces, WebSockets, gRPC."""

import ssl
import sys

import grpc
import httpx
from edge import CA, PORT
from websockets.sync.client import connect

TRUST = ssl.create_default_context(cafile=CA)


def canary(field):
    return sys.argv[3].replace("FIELD", field)


fields = {
    "authorization": "Bearer dbtc_" + canary("httpx").ljust(60, "0"),
    "user-agent": canary("library"),
    "x-api-key": canary("apikey"),
    "cookie": f"sessionid=FAKE; {canary('cookie')}={canary('cookie')}",
    canary("field").lower(): canary("value"),
}
TARGET = f"/api/v2/accounts/12345/jobs/7/run/?key={canary('query')}"

for http2 in (False, True):
    with httpx.Client(http1=not http2, http2=http2, verify=TRUST, timeout=20) as client:
        url = f"https://cloud.getdbt.com:{PORT}{TARGET}"
        client.post(url, headers=fields, json={canary("json"): canary("json")})
        client.post(url, headers=fields, content=iter([canary("piece").encode()] * 3))
        client.post(url, headers=fields, files={canary("form"): (canary("file"), canary("content"), "text/plain")})
        client.get(f"https://cloud.getdbt.com:{PORT}/api/v2/accounts/26228/?{canary('query')}", headers=fields)

for host in ("acme.us1.dbt.com", "cloud.getdbt.com"):
    try:
        url = f"wss://{host}/ws/develop/12345/?token={canary('query')}"
        protocols = [canary("subprotocol")]
        with connect(url, ssl=TRUST, open_timeout=20, additional_headers=fields, user_agent_header=None, subprotocols=protocols) as socket:
            socket.send(canary("message"))
            socket.recv(timeout=20)
            socket.ping(canary("ping").encode())
            socket.close(4001, canary("close"))
    except Exception as refused:
        # In a brownout, and where the cell offers no such protocol.
        print(refused)

with open(CA, "rb") as file:
    SECURE = grpc.ssl_channel_credentials(file.read())
for host in ("acme.semantic-layer.us1.dbt.com", "semantic-layer.cloud.getdbt.com"):
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    options.append(("grpc.primary_user_agent", canary("library")))
    with grpc.secure_channel(f"127.0.0.1:{PORT}", SECURE, options) as channel:
        metadata = [("authorization", fields["authorization"]), ("x-trace-bin", canary("binary").encode())]
        metadata += [(canary("field").lower(), canary("value")), ("environmentid", canary("environment"))]
        try:
            call = channel.unary_unary("/arrow.flight.protocol.FlightService/GetFlightInfo")
            call(canary("ticket").encode(), metadata=metadata, timeout=20)
        except grpc.RpcError as refused:
            print(refused.code())
