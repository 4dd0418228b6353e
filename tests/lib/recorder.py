# SPDX-License-Identifier: Apache-2.0
"""A recorder between dockerd and the plugin: dockerd sees a driver of its own, each call goes on
to the plugin and is noted with its answer."""

import json
import secrets
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

from lib import http
from lib.paths import PLUGIN_SOCKETS


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 100


class Recorder:
    """Use as a context manager; .driver is what dockerd calls it."""

    def __init__(self, plugin):
        self.driver = f"recorded-{secrets.token_hex(3)}"
        self.path = PLUGIN_SOCKETS / f"{self.driver}.sock"
        self.calls = []  # .method, .body, .answer: None when the plugin closed the connection
        self.plugin = plugin
        self.server = _Server(str(self.path), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def _handler(recorder):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                call = SimpleNamespace(method=self.path.strip("/"), answer=None,
                                       body=json.loads(body) if body.strip() else {})
                recorder.calls.append(call)
                try:
                    reply = recorder.plugin.raw(call.method, body, timeout=120)
                except (http.ClosedWithoutAnswer, OSError):
                    self.close_connection = True
                    return
                call.answer = reply.json()
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def address_string(self):
                return "dockerd"

            def log_message(self, *_):
                pass

        return Handler

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.path.unlink()

    def named(self, method):
        """The calls of one method, as "Mount"."""
        return [call for call in self.calls if call.method == f"VolumeDriver.{method}"]

    def count(self, method):
        return len(self.named(method))
