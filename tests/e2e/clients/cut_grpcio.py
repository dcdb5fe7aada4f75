"""grpcio without TLS: a stream that its cell never ends. Says how it ended."""

import sys

import grpc

port, host = sys.argv[1:]
options = [("grpc.default_authority", host), ("grpc.enable_retries", 0)]
with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
    stream = channel.unary_stream("/arrow.flight.protocol.FlightService/ServerStream")
    rows = 0
    try:
        for _ in stream(b"row", metadata=[("x-sim", "messages=1000000;every_ms=20")], timeout=60):
            rows += 1
    except grpc.RpcError as error:
        print(rows > 0, error.code().name, error.details())
