# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 client on a Unix socket that can also do what a good client never does: send
half a request, dribble, hang up, leave headers out."""

import json
import socket
import time

# What dockerd sends (no Content-Type, whatever the body).
DOCKERD_HEADERS = {
    "Host": "plugin.moby.localhost",
    "User-Agent": "Go-http-client/1.1",
    "Accept": "application/vnd.docker.plugins.v1.2+json",
}


class ClosedWithoutAnswer(Exception):
    """The server closed the connection and had not sent a single byte of an answer."""


class Reply:
    """status: int; headers: dict with lower-case keys; body: bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def request_bytes(method, body=b"", headers=None, chunked=False, verb="POST"):
    """One request as it goes over the wire. A header with value None is left out. `body`: bytes,
    or None for no body and no Content-Length."""
    fields = dict(DOCKERD_HEADERS)
    if chunked:
        fields["Transfer-Encoding"] = "chunked"
    elif body is not None:
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    head = f"{verb} /{method} HTTP/1.1\r\n"
    head += "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value is not None)
    head = head.encode() + b"\r\n"
    if chunked:
        parts = [body[i:i + 7] for i in range(0, len(body), 7)] + [b""]
        return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + (body or b"")


class Connection:
    """One connection. Raises OSError (TimeoutError, ConnectionError) as sockets do, and
    ClosedWithoutAnswer."""

    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.buffer = b""
        try:
            # Without a time limit: with one, a full backlog is an error instead of a wait.
            self.socket.connect(str(path))
            self.socket.settimeout(timeout)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def dribble(self, data, pause, step=1):
        """Send `step` bytes at a time, `pause` seconds apart."""
        for i in range(0, len(data), step):
            self.socket.sendall(data[i:i + step])
            time.sleep(pause)

    def call(self, method, body=b"", **options):
        """Send a request and read its reply. `body`: bytes, or anything JSON can say."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send(request_bytes(method, body, **options))
        return self.read_reply()

    def _more(self):
        data = self.socket.recv(65536)
        if not data and not self.buffer:
            raise ClosedWithoutAnswer()
        if not data:
            raise ConnectionError("closed in the middle of an answer")
        self.buffer += data

    def read_reply(self):
        """Read one reply; what follows it stays for the next call."""
        try:
            while b"\r\n\r\n" not in self.buffer:
                self._more()
        except ConnectionResetError:
            if self.buffer:
                raise
            raise ClosedWithoutAnswer() from None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {k.strip().lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:])}
        if status == 100:
            return self.read_reply()
        while len(self.buffer) < int(headers["content-length"]):
            self._more_of_body()
        length = int(headers["content-length"])
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(status, headers, body)

    def _more_of_body(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed in the middle of an answer")
        self.buffer += data

    def closed_by_peer(self):
        """Wait for the peer to close; False when it sends something instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def call(path, method, body=b"", timeout=30, **options):
    """One request on a connection of its own."""
    with Connection(path, timeout) as connection:
        return connection.call(method, body, **options)
