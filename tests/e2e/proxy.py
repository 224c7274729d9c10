"""proxy: stands between lazyrun and a registry; counts, delays, stalls, cuts, corrupts, refuses.

Each request is a Request, kept in .seen. A rule, a function of the Request, returns None or a dict:
  status=503, headers={}, body=b""   answer that instead of asking upstream
  delay=seconds                      before the answer's head
  stall=True                         send the head, then nothing until proxy.go is set
  reset=True                         close the connection before the answer's head
  cut=n                              close the connection after n bytes of the body
  whole=True                         pass the request on without its Range: a 200 for a range
  content_range="bytes 0-9/10"       sent instead of what a range's answer has
  corrupt=n                          flip a bit of byte n of the *blob* (also when a range is asked for)
"""
import http.client
import http.server
import re
import socketserver
import threading
import time


class Request:
    def __init__(self, handler):
        self.method, self.path = handler.command, handler.path
        self.agent = handler.headers.get("User-Agent", "")
        self.authorization = handler.headers.get("Authorization")
        m = re.match(r"bytes=(\d+)-(\d*)$", handler.headers.get("Range", ""))
        self.range = (int(m[1]), int(m[2]) if m[2] else None) if m else None
        self.status, self.sent, self.time = None, 0, time.monotonic()
        self.left = False  # the client hung up before it had everything

    @property
    def is_blob(self):
        return "/blobs/" in self.path

    def __repr__(self):
        return f"{self.method} {self.path} {self.range or ''} {self.status} {self.sent} bytes"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        proxy, request = self.server.proxy, Request(self)
        with proxy.lock:
            proxy.seen.append(request)
        act = (proxy.rule(request) if proxy.rule else None) or {}
        if act.get("delay"):
            proxy.closing.wait(act["delay"])
        if act.get("reset"):
            self.close_connection = True
            return
        try:
            self.answer(proxy, request, act)
        except (ConnectionError, http.client.HTTPException, OSError):
            self.close_connection = request.left = True

    do_HEAD = do_GET

    def answer(self, proxy, request, act):
        if "status" in act:
            body = act.get("body", b'{"errors":[{"code":"UNKNOWN","message":"said the proxy"}]}')
            request.status = act["status"]
            self.send_response(act["status"])
            for k, v in {"Content-Type": "application/json", **act.get("headers", {})}.items():
                self.send_header(k, v)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)
            return
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for k, v in self.headers.items():  # one name may come many times: Accept does
                if k.lower() != "connection" and not (k.lower() == "range" and act.get("whole")):
                    upstream.putheader(k, v)
            upstream.endheaders()
            r = upstream.getresponse()
            request.status = r.status
            self.send_response(r.status)
            for k, v in r.getheaders():
                if k.lower() == "content-range":
                    v = act.get("content_range", v)
                if k.lower() not in ("connection", "date", "server"):
                    self.send_header(k, v)
            self.end_headers()
            if self.command != "HEAD":
                self.body(proxy, request, act, r)
        finally:
            upstream.close()

    def body(self, proxy, request, act, r):
        at = request.range[0] if request.range and r.status == 206 else 0
        if act.get("stall"):
            self.wfile.flush()
            proxy.stalled.release()
            proxy.go.wait()
        while block := r.read(65536):
            if "cut" in act and request.sent + len(block) >= act["cut"]:
                self.wfile.write(block[:act["cut"] - request.sent])
                request.sent = act["cut"]
                self.close_connection = True
                return
            bad = act.get("corrupt", -1) - at - request.sent
            if 0 <= bad < len(block):
                block = block[:bad] + bytes([block[bad] ^ 1]) + block[bad + 1:]
            self.wfile.write(block)
            request.sent += len(block)
            if "rate" in act:
                proxy.closing.wait(len(block) / act["rate"])

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Proxy:
    """upstream: "host:port", http. The proxy's own address is .address, on a port of its choice or that of one
    that was closed."""

    def __init__(self, upstream, rule=None, port=0):
        self.upstream, self.rule = upstream, rule
        self.seen, self.lock = [], threading.Lock()
        self.go, self.closing, self.stalled = threading.Event(), threading.Event(), threading.Semaphore(0)
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.proxy = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def reference(self, repository, tag="latest"):
        return f"{self.address}/{repository}:{tag}"

    def blobs(self):
        """GETs of blobs so far."""
        with self.lock:
            return [r for r in self.seen if r.is_blob and r.method == "GET"]

    def forget(self):
        with self.lock:
            self.seen.clear()

    def close(self):
        self.closing.set()
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
