"""grpcio over TLS: unary, streams both ways, an error of the cell, and one of the edge."""

import grpc
from edge import CA, PORT, TOKEN_AB123

with open(CA, "rb") as file:
    TRUST = grpc.ssl_channel_credentials(file.read())


def channel(host):
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    return grpc.secure_channel(f"127.0.0.1:{PORT}", TRUST, options)


def error(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("an error was expected")


METADATA = [("authorization", f"Bearer {TOKEN_AB123}"), ("environmentid", "70403103966025")]
SERVICE = "/arrow.flight.protocol.FlightService"

with channel("ab123.semantic-layer.us1.dbt.com") as cell:
    unary = cell.unary_unary(f"{SERVICE}/GetFlightInfo")
    answer, call = unary.with_call(b"ticket", metadata=METADATA, timeout=20)
    assert answer == b"ticket" and call.code() == grpc.StatusCode.OK
    assert dict(call.initial_metadata())["x-cell"] == "cell-1", call.initial_metadata()

    large = b"z" * 3_000_000
    assert unary(large, timeout=20) == large

    stream = cell.unary_stream(f"{SERVICE}/ServerStream")
    rows = list(stream(b"row", metadata=METADATA + [("x-sim", "messages=50")], timeout=20))
    assert rows == [b"row#%d" % number for number in range(50)], rows

    both = cell.stream_stream(f"{SERVICE}/Bidi")
    said = [b"a", b"b" * 100_000, b"c"]
    assert list(both(iter(said), timeout=20)) == said

    failed = error(lambda: cell.unary_unary(f"{SERVICE}/Fail")(b"x", timeout=20))
    assert failed.code() == grpc.StatusCode.NOT_FOUND, failed
    assert failed.details() == "asked to fail", failed

with channel("nobody.semantic-layer.us1.dbt.com") as nobody:
    refused = error(lambda: nobody.unary_unary(f"{SERVICE}/GetFlightInfo")(b"x", timeout=20))
    assert refused.code() == grpc.StatusCode.NOT_FOUND, refused
    assert "not served at this address" in refused.details(), refused
    assert dict(refused.initial_metadata() or refused.trailing_metadata())["x-cellgate-outcome"] == "not-forwarded"
