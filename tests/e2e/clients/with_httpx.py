"""httpx over HTTP/1.1 and HTTP/2: many requests at once on one connection, uploads, streams. Its
asynchronous resolver takes only the address, so the port stands in the URLs, and so in Host."""

import asyncio
import ssl

import httpx
from edge import CA, JOBS, PORT, RUN, TOKEN_12345, TOKEN_AB123, arrived

JOBS, RUN = (url.replace(".com/", f".com:{PORT}/") for url in (JOBS, RUN))
TRUST = ssl.create_default_context(cafile=CA)


async def everything(http2):
    token = {"Authorization": f"Bearer {TOKEN_12345}"}
    async with httpx.AsyncClient(http1=not http2, http2=http2, verify=TRUST, headers=token, timeout=20) as client:
        answers = await asyncio.gather(*(client.get(JOBS) for _ in range(20)))
        for answer in answers:
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), answer.http_version
            arrived(answer.json(), "cell-2", "12345")
            assert answer.headers["deprecation"] == "@1769904000", answer.headers

        answer = await client.post(RUN, json={"cause": "x"})
        assert answer.status_code == 200 and answer.json()["method"] == "POST", answer.text

        async def pieces():
            for _ in range(100):
                yield b"y" * 10_000

        answer = await client.post(RUN, content=pieces())
        assert answer.json()["body"]["bytes"] == 1_000_000, answer.text

        whoami = {"Authorization": f"Bearer {TOKEN_AB123}"}
        answer = await client.get(f"https://cloud.getdbt.com:{PORT}/api/v2/whoami", headers=whoami)
        arrived(answer.json(), "cell-1", "70403103966603")

        events = 0
        stream = client.stream("GET", f"https://ab123.us1.dbt.com:{PORT}/sse", headers={"X-Sim": "sse=5;every_ms=20"})
        async with stream as answer:
            assert "deprecation" not in answer.headers, "an account's own address is not deprecated"
            async for line in answer.aiter_lines():
                events += line.startswith("data:")
        assert events == 5, events


asyncio.run(everything(http2=False))
asyncio.run(everything(http2=True))
