"""A receiver of webhooks that checks them with the library of Standard Webhooks, as a customer of theirs would:
receiver.py MODE SECRET [CERTIFICATE KEY]. Prints its port, and then a line of JSON for each message.

MODE: `takes` all; `busy` is so the first time that it sees a message (503, Retry-After); `refuses` all; `gone`."""

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

MODE, WEBHOOK = sys.argv[1], Webhook(sys.argv[2])
seen: set[str] = set()
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = WEBHOOK.verify(body, dict(self.headers.items()))
        except WebhookVerificationError as error:
            return self.answer(401, None, str(error))
        with lock:
            again = self.headers["webhook-id"] in seen
            seen.add(self.headers["webhook-id"])
        busy = MODE == "busy" and not again
        status = {"refuses": 400, "gone": 410}.get(MODE, 503 if busy else 204)
        return self.answer(status, event, None)

    def answer(self, status, event, error):
        with lock:
            told = {
                "id": self.headers["webhook-id"],
                "signatures": self.headers["webhook-signature"].split(" "),
                "path": self.path,
                "event": event,
                "error": error,
                "status": status,
            }
            print(json.dumps(told), flush=True)
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Whoever does not trust this server hangs up, which one of the tests wants."""


server = Server(("127.0.0.1", 0), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
