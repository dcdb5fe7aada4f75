#!/usr/bin/env python3
"""Verifies the X-Cellgate-Signature header. Standard library only.

As a module:   verify(signature, received, keys, now) -> dict, or raises BadSignature
As a program:  verify.py vectors.json   checks this file against the test vectors

What it verifies is a routing verdict, not who the client is: see README.md.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import sys

TOLERANCE_SECONDS = 30

_NUMBER = r"0|[1-9][0-9]{0,19}"
_SIGNATURE = re.compile(
    rf"v1;kid=(?P<kid>[^;]*);t=(?P<t>{_NUMBER});src=(?P<src>[^;]*);gen=(?P<gen>[^;]*)"
    rf";epoch=(?P<epoch>{_NUMBER});sig=(?P<sig>[A-Za-z0-9_-]{{43}})",
    re.ASCII,
)


class BadSignature(Exception):
    """str() is one of: malformed, unknown_key, not_now, mismatch."""


def canonical(kid, received, claims):
    """The signed text."""
    lines = [
        "cellgate-verdict-v1",
        f"kid={kid}",
        f"cell={received['cell']}",
        f"account={received['account'] or '-'}",
        f"source={claims['source']}",
        f"generation={claims['generation']}",
        f"method={received['method']}",
        f"authority={received['authority']}",
        f"target={received['target']}",
        f"request-id={received['request_id']}",
        f"epoch={claims['epoch']}",
        f"time={claims['time']}",
    ]
    if any(ord(char) < 32 for line in lines for char in line):
        raise BadSignature("mismatch")
    return "\n".join(lines)


def verify(signature, received, keys, now):
    """signature: the header. received: cell (your own name, never the request's), account (the
    X-Cellgate-Account header or None), method, authority, target (raw), request_id (the X-Request-Id
    header). keys: bytes by key id. now: seconds since the Unix epoch."""
    match = _SIGNATURE.fullmatch(signature)
    if not match:
        raise BadSignature("malformed")
    claims = {
        "source": match["src"],
        "generation": match["gen"],
        "epoch": int(match["epoch"]),
        "time": int(match["t"]),
    }
    try:
        tag = base64.b64decode(match["sig"] + "=", altchars=b"-_", validate=True)
    except binascii.Error:
        raise BadSignature("malformed") from None
    if base64.urlsafe_b64encode(tag).rstrip(b"=") != match["sig"].encode():
        raise BadSignature("malformed")
    key = keys.get(match["kid"])
    if key is None:
        raise BadSignature("unknown_key")
    if abs(now - claims["time"]) > TOLERANCE_SECONDS:
        raise BadSignature("not_now")
    text = canonical(match["kid"], received, claims).encode()
    if not hmac.compare_digest(hmac.new(key, text, hashlib.sha256).digest(), tag):
        raise BadSignature("mismatch")
    return claims


def check_vectors(path):
    """Returns how many vectors there are and how many of them went wrong."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    keys = {kid: bytes.fromhex(key) for kid, key in document["keys"].items()}
    wrong = 0
    for vector in document["vectors"]:
        try:
            claims = verify(vector["signature"], vector["received"], keys, vector["now"])
            outcome = "valid"
            if canonical("k1", vector["received"], claims) != document["canonical"] and vector["name"] == "valid":
                outcome = "other canonical text"
        except BadSignature as error:
            outcome = str(error)
        if outcome != vector["expect"]:
            wrong += 1
            print(f"{vector['name']}: expected {vector['expect']}, got {outcome}", file=sys.stderr)
    return len(document["vectors"]), wrong


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: verify.py vectors.json")
    count, wrong = check_vectors(sys.argv[1])
    print(f"{count - wrong} of {count} vectors as expected")
    sys.exit(1 if wrong or not count else 0)
