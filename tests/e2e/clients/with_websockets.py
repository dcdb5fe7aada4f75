"""websockets over TLS: text, large binaries, pings, many messages, and a close with its code."""

import ssl

from edge import CA
from websockets.sync.client import connect

TRUST = ssl.create_default_context(cafile=CA)
URL = "wss://ab123.us1.dbt.com/ws/develop/70403103966603/"

with connect(URL, ssl=TRUST, open_timeout=20, max_size=8_000_000) as socket:
    assert socket.response.headers["x-cell"] == "cell-1", socket.response.headers
    for number in range(200):
        socket.send(f"message {number}")
        assert socket.recv(timeout=20) == f"message {number}"
    large = bytes(range(256)) * 8_000
    socket.send(large)
    assert socket.recv(timeout=20) == large
    assert socket.ping().wait(20)
    socket.send("sim:push 5 1")
    assert [socket.recv(timeout=20) for _ in range(5)] == [f"push {number}" for number in range(5)]
    socket.send("sim:close 4001 because")
    try:
        socket.recv(timeout=20)
    except Exception as closed:
        assert closed.rcvd.code == 4001 and closed.rcvd.reason == "because", closed
    else:
        raise AssertionError("the cell's close was not passed on")
