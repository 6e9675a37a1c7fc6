"""What is no HTTP, or not as it should be: refused in JSON, and the connection is closed."""

from collections.abc import Iterator

from tests.contract.line import request, to_model
from tests.contract.rows import Rest
from tests.contract.tables.bodies import text

INFER = to_model("double", "infer")
HEAD = b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: tercet\r\n"
GET = b"GET /v2 HTTP/1.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

NOT_HTTP: dict[str, bytes] = {
    "a word": b"hello\r\n\r\n",
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
    "JSON": text() + b"\r\n\r\n",
    "a handshake of TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "a method that there is not": b"INFER /v2 HTTP/1.1\r\n\r\n",
    "a method in lower case": b"get /v2 HTTP/1.1\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n\r\n",
    "a version to come": b"GET /v2 HTTP/9.9\r\n\r\n",
    "another protocol": b"GET /v2 SIP/2.0\r\n\r\n",
    "a path with a space": b"GET /v2/models/a b HTTP/1.1\r\n\r\n",
    "a path with foreign letters": "GET /v2/models/größe HTTP/1.1\r\n\r\n".encode(),
    "a path with a zero": b"GET /v2\0 HTTP/1.1\r\n\r\n",
    "a tunnel": b"CONNECT tercet:8000 HTTP/1.1\r\nHost: tercet\r\n\r\n",
    "lines that end in LF": b"GET /v2 HTTP/1.1\nHost: tercet\n\n",
    "a header without a name": GET + b": value\r\n\r\n",
    "a header without a colon": GET + b"Host\r\n\r\n",
    "a header with a space before the colon": GET + b"Host : tercet\r\n\r\n",
    "a header with a space in its name": GET + b"My Host: tercet\r\n\r\n",
    "a header on two lines": GET + b"Host: tercet\r\n and more\r\n\r\n",
    "a header with a zero": GET + b"Host: ter\0cet\r\n\r\n",
    "a length below 0": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length of text": HEAD + b"Content-Length: long\r\n\r\n",
    "a length beyond 64 bits": HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a length, and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\n\r\n",
    "a chunk's size of text": CHUNKED + b"size\r\nhello\r\n0\r\n\r\n",
    "a chunk's size below 0": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk's size beyond 64 bits": CHUNKED + b"f" * 20 + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nhello\r\n0\r\n\r\n",
}

HEADS: dict[str, bytes] = {
    "one long header": request("/v2", b"", "X-Long: " + "x" * 70_000, method="GET"),
    "many headers": request("/v2", b"", *["X-Short: x"] * 10_000, method="GET"),
    "a long path": request("/v2/models/" + "long" * 20_000, method="GET"),
    "a long name of a header": request("/v2", b"", "X" * 70_000 + ": x", method="GET"),
    "a long head before a good body": request(INFER, text(), "X-Long: " + "x" * 70_000),
    "a head without an end": GET + b"X-Long: " + b"x" * 200_000,
}


def rows() -> Iterator[Rest]:
    for title, sent in NOT_HTTP.items():
        yield Rest(f"not HTTP: {title}", sent, 400, "this is not HTTP, or not as it should be: ")
    for title, sent in HEADS.items():
        says = (
            "the head of the request is larger than 65536 bytes, the limit that --http-max-header-bytes sets"
        )
        yield Rest(f"head: {title}", sent, 431, says)
