"""A gRPC server with the health service. Each line of its standard input sets one: `name=NOT_SERVING`."""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

servicer = health.HealthServicer()
server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
# Ends with whoever has started it.
for line in sys.stdin:
    name, status = line.strip().split("=")
    servicer.set(name, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
server.stop(None)
