"""What helm asks of a cluster before it renders: prints its port and answers until it is ended. cluster.py [REPLICAS]

With REPLICAS there is a StatefulSet of this release with so many; without, nothing of it is there.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

# Kinds of the chart by the version of their API.
KINDS = {
    "v1": ["ConfigMap", "Service", "ServiceAccount"],
    "apps/v1": ["StatefulSet"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "monitoring.coreos.com/v1": ["PrometheusRule", "ServiceMonitor"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}
SET = "/apis/apps/v1/namespaces/edge/statefulsets/cellgate"


def version(of):
    return {"groupVersion": of, "version": of.rpartition("/")[2]}


def resource(kind):
    return {"name": kind.lower() + "s", "kind": kind, "namespaced": True, "verbs": ["get", "create", "patch"]}


PAGES = {
    "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {"name": of.split("/")[0], "versions": [version(of)], "preferredVersion": version(of)}
            for of in KINDS
            if "/" in of
        ],
    },
}
for of, kinds in KINDS.items():
    PAGES[("/apis/" if "/" in of else "/api/") + of] = {
        "kind": "APIResourceList",
        "groupVersion": of,
        "resources": [resource(kind) for kind in kinds],
    }
for replicas in sys.argv[1:]:
    # Helm's own: it touches nothing that somebody else has made.
    owner = {"meta.helm.sh/release-name": "cellgate", "meta.helm.sh/release-namespace": "edge"}
    PAGES[SET] = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": "cellgate",
            "namespace": "edge",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": owner,
        },
        "spec": {"replicas": int(replicas)},
    }


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        page = PAGES.get(self.path.split("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(page or missing).encode()
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Answers)
print(server.server_port, flush=True)
server.serve_forever()
