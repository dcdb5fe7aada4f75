"""Two Python servers as cells of the lab: uvicorn with h11 (`asgi`) and gunicorn (`wsgi`).

    servers.py asgi|wsgi RECORDS

Prints its port. Each request that the server hands to its application, and each that the server refuses by
itself, is a line of JSON in RECORDS.
"""

import json
import logging
import os
import socket
import sys
import threading
from urllib.parse import unquote

kind, path = sys.argv[1:]
records = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def record(**read):
    os.write(records, (json.dumps({"cell": kind, **read}) + "\n").encode())


def answer(ident, target):
    return f"[cell={kind} id={ident} target={target}]".encode()


class Refusals(logging.Handler):
    def emit(self, line):
        if line.getMessage().startswith("Invalid"):
            record(refused=True, target=line.getMessage())


def listening():
    # With its protocol named, or asyncio does not know it for TCP and leaves Nagle's algorithm on.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    print(listener.getsockname()[1], flush=True)
    # Ends with whoever started it.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    return listener


def asgi():
    import uvicorn

    async def application(scope, receive, send):
        fields = {}
        for name, value in scope["headers"]:
            fields.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        field = lambda name: ", ".join(fields.get(name, []))
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + ("?" + query if query else "")
        record(
            id=field("x-request-id"),
            account=field("x-cellgate-account"),
            method=scope["method"],
            target=target,
            path=scope["path"],
            host=field("host"),
            header=field("x-account"),
        )
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        body = answer(field("x-request-id"), target)
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    logging.getLogger("uvicorn.error").addHandler(Refusals())
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=120,
        h11_max_incomplete_event_size=256 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listening()])


def wsgi():
    from gunicorn.app.base import BaseApplication

    def application(environ, start):
        field = lambda name: environ.get("HTTP_" + name, "")
        target = environ["RAW_URI"]
        record(
            id=field("X_REQUEST_ID"),
            account=field("X_CELLGATE_ACCOUNT"),
            method=environ["REQUEST_METHOD"],
            target=target,
            path=unquote(target.split("?")[0]),
            host=field("HOST"),
            header=field("X_ACCOUNT"),
        )
        environ["wsgi.input"].read()
        body = answer(field("X_REQUEST_ID"), target)
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    listener = listening()
    listener.set_inheritable(True)

    class Server(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", f"fd://{listener.fileno()}")
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 64)
            self.cfg.set("keepalive", 120)
            self.cfg.set("limit_request_line", 0)
            self.cfg.set("limit_request_fields", 1000)
            self.cfg.set("limit_request_field_size", 0)
            self.cfg.set("errorlog", os.devnull)

        def load(self):
            logging.getLogger("gunicorn.error").addHandler(Refusals())
            return application

    Server().run()


asgi() if kind == "asgi" else wsgi()
