#!/usr/bin/env python3
"""A registry that can lie: an HTTP(S) server for tests, in the standard library only.

In a test:
    with RegistryFake(auth="token", user="u", password="p") as fake:
        digest, size = fake.add_blob(data)
        fake.add_layout("/path/of/an/oci/layout", "some/repository")
        fake.rule(r"/blobs/", "cut", at=1000, times=1)
        run("lazyrun", f"{fake.host}/some/repository:tag")
        fake.log          # one dict a request: method, path, status, range, authorization (bool)

As a program:  registry_fake.py --layout DIR=REPOSITORY [--port N] [--tls CERT KEY] [--auth token|basic]
    prints "ready HOST:PORT". POST /_control {"rules": [{"match": ..., "kind": ..., ...}]} replaces the
    rules; {"expire_tokens": true} makes every token given so far worthless. GET /_log.

A rule: match (regular expression on "METHOD PATH"), kind, times (default: always), skip (matches to
let pass first), and what the kind needs:
    status         code, headers={}, body=""        cut         at: bytes of the body, then close
    slow           rate: bytes a second             stall       at: bytes, then silence for `seconds`
    redirect       to: "http://..." (+ path), code  no_range    200 and the whole for a range
    content_range  value: sent instead              part        n: answer at most n bytes of a range
    corrupt        at: this byte is another         resize      n: bytes more or fewer, also declared
    no_length      no Content-Length, close at end  no_length_resize  both
    headers        headers={} added to the reply    need_auth   401 as if no header were there
    stop           hang up before the answer
    cut_head       at: bytes of the whole answer, head and all, then reset; end=True: an orderly end
    endless        code=200: a body that never ends (also the head: head=True)
    expire         tokens given so far are refused  cut_and_expire    at: cut, then as expire
"""
import argparse
import base64
import hashlib
import http.server
import json
import os
import re
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

CHUNK = 256 * 1024


def make_certificate(directory, name="127.0.0.1"):
    """A self-signed certificate for `name`; returns (certificate, key)."""
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    kind = "IP" if re.fullmatch(r"[0-9.]+|[0-9a-f:]+", name) else "DNS"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=" + name,
                    "-addext", f"subjectAltName={kind}:{name}"], check=True, capture_output=True)
    return cert, key


class Rule:
    def __init__(self, match, kind, times=None, skip=0, **options):
        self.match, self.kind, self.times, self.skip, self.options = re.compile(match), kind, times, skip, options
        self.used = 0

    def takes(self, what):
        if not self.match.search(what):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.used >= self.times:
            return False
        self.used += 1
        return True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # clients hang up; that is what many tests are about


class RegistryFake:
    def __init__(self, address="127.0.0.1", port=0, tls=None, client_ca=None, auth=None, user=None, password=None,
                 identity_token=None, token_seconds=300, realm=None, deaf_to_tls=False, referrers=True,
                 referrers_page=100, filters=True, mounts=True):
        """tls: (certificate, key). auth: None, "basic", "token". user None: everyone gets a token.
        referrers: it has the referrers API, `referrers_page` entries a page; filters: and filters by artifactType.
        mounts: a blob of another repository may be mounted. realm: token server elsewhere. deaf_to_tls: a plain server that waits for more of a TLS greeting."""
        self.blobs, self.manifests, self.rules, self.log = {}, {}, [], []
        self.tokens, self.lock = {}, threading.Lock()
        self.auth, self.user, self.password, self.identity_token = auth, user, password, identity_token
        self.token_seconds, self.deaf_to_tls = token_seconds, deaf_to_tls
        self.referrers, self.referrers_page, self.filters, self.mounts = referrers, referrers_page, filters, mounts
        self.uploads, self.rights = {}, {}  # session: repository; token: scopes
        fake = self

        class Bound(Handler):
            registry = fake

        Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.server = Server((address, port), Bound)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            if client_ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(client_ca)
            # The handshake happens in the connection's own thread.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)
        self.tls = bool(tls)
        self.port = self.server.server_address[1]
        self.host = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self.url = ("https://" if tls else "http://") + self.host
        self.realm = realm or self.url + "/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def add_blob(self, data, algorithm="sha256", digest=None):
        """Returns (digest, size). `digest`: store under a false name."""
        digest = digest or algorithm + ":" + hashlib.new(algorithm, data).hexdigest()
        self.blobs[digest] = data
        return digest, len(data)

    def add_manifest(self, repository, tag, manifest, media_type="application/vnd.oci.image.manifest.v1+json"):
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        for name in (tag, digest):
            if name:
                self.manifests[repository, name] = (media_type, data)
        return digest, len(data)

    def add_layout(self, directory, repository, tag=None):
        """Everything of an OCI layout; its only image gets `tag`, otherwise the tags of index.json count."""
        for algorithm in os.listdir(os.path.join(directory, "blobs")):
            for name in os.listdir(os.path.join(directory, "blobs", algorithm)):
                with open(os.path.join(directory, "blobs", algorithm, name), "rb") as f:
                    self.blobs[algorithm + ":" + name] = f.read()
        with open(os.path.join(directory, "index.json")) as f:
            queue = [(m, tag or m.get("annotations", {}).get("org.opencontainers.image.ref.name", "latest"))
                     for m in json.load(f)["manifests"]]
        while queue:
            entry, name = queue.pop()
            data = self.blobs[entry["digest"]]
            for key in (name, entry["digest"]):
                if key:
                    self.manifests[repository, key] = (entry["mediaType"], data)
            queue += [(m, None) for m in json.loads(data).get("manifests", [])]

    def rule(self, match, kind, **options):
        with self.lock:
            self.rules.append(Rule(match, kind, **options))

    def clear(self):
        with self.lock:
            self.rules, self.log = [], []

    def expire_tokens(self):
        with self.lock:
            self.tokens.clear()

    def requests(self, pattern="."):
        with self.lock:
            return [e for e in self.log if re.search(pattern, e["method"] + " " + e["path"])]


class CutFile:
    """A connection's output that ends after `at` bytes."""

    def __init__(self, handler, at, end=False):
        self.handler, self.to, self.left, self.end = handler, handler.wfile, at, end
        self.closed = False

    def write(self, data):
        data = bytes(data)[:self.left]
        self.to.write(data)
        self.left -= len(data)
        if self.left == 0 and not self.handler.close_connection:
            if self.end:
                self.handler.close_connection = True
                self.handler.connection.shutdown(socket.SHUT_WR)
            else:
                self.handler.wfile = self.to
                self.handler.hang_up()
            raise BrokenPipeError

    def flush(self):
        self.to.flush()

    def close(self):
        self.to.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    registry = None

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        if not self.registry.tls and not self.registry.deaf_to_tls:
            first = self.connection.recv(1, socket.MSG_PEEK)
            if first == b"\x16":  # as Go's servers do it
                self.connection.recv(65536)
                self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
                self.close_connection = True
                return
        super().handle_one_request()

    def do_POST(self):
        self.serve()

    def do_GET(self):
        self.serve()

    def do_HEAD(self):
        self.serve()

    def do_PUT(self):
        self.serve()

    # -- one request

    def serve(self):
        fake = self.registry
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        self.entry = {"method": self.command, "path": self.path, "status": None, "range": self.headers.get("Range"),
                      "authorization": "Authorization" in self.headers, "accept": self.headers.get_all("Accept"),
                      "accept_encoding": self.headers.get("Accept-Encoding"),
                      "user_agent": self.headers.get("User-Agent")}
        self.faults = {}
        if path == "/_control":
            return self.control()
        if path == "/_log":
            return self.reply(200, json.dumps(fake.log).encode(), "application/json")
        with fake.lock:
            fake.log.append(self.entry)
            for rule in fake.rules:
                if rule.takes(self.command + " " + self.path):
                    self.faults.setdefault(rule.kind, rule.options)
        if "expire" in self.faults:
            fake.expire_tokens()
        if "stop" in self.faults:
            return self.hang_up()
        if "endless" in self.faults:
            return self.endless(**self.faults["endless"])
        if "status" in self.faults:
            o = self.faults["status"]
            body = o.get("body", "")
            return self.reply(o["code"], body.encode() if isinstance(body, str) else json.dumps(body).encode(),
                              "application/json", o.get("headers", {}))
        if path == "/token":
            return self.token(urllib.parse.parse_qs(query))
        if "need_auth" in self.faults or not self.allowed():
            return self.challenge()
        if "redirect" in self.faults:
            o = self.faults["redirect"]
            return self.reply(o.get("code", 307), b"", "text/plain", {"Location": o["to"] + o.get("path", self.path)})
        query = urllib.parse.parse_qs(query)
        m = re.fullmatch(r"/v2/(.+)/blobs/uploads/([^/]*)", path)
        if m:
            return self.upload(m[1], m[2], query)
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs|referrers)/([^/]+)", path)
        if not m or (m[2] == "referrers" and not fake.referrers):
            return self.error(404, "NAME_UNKNOWN", "what is this?")
        if m[2] == "referrers":
            return self.list_referrers(m[1], m[3], query)
        if self.command == "PUT":
            return self.put_manifest(m[1], m[3])
        if m[2] == "blobs":
            return self.blob(m[3])
        media_type, data = fake.manifests.get((m[1], m[3]), (None, None))
        if data is None:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.content(data, media_type, {"Docker-Content-Digest": digest})

    def control(self):
        o = json.loads(self.body)
        with self.registry.lock:
            if "rules" in o:
                self.registry.rules = [Rule(**r) for r in o["rules"]]
            if o.get("expire_tokens"):
                self.registry.tokens.clear()
            if o.get("clear_log"):
                self.registry.log = []
        self.reply(200, b"{}", "application/json")

    # -- what is put

    def upload(self, repository, session, query):
        fake = self.registry
        if self.command == "POST":
            mount = query.get("mount", [""])[0]
            if fake.mounts and mount in fake.blobs:
                return self.reply(201, b"", "text/plain", {"Location": f"/v2/{repository}/blobs/{mount}"})
            session = secrets.token_hex(8)
            fake.uploads[session] = repository
            return self.reply(202, b"", "text/plain", {"Location": f"/v2/{repository}/blobs/uploads/{session}?state=x%3D1"})
        if fake.uploads.pop(session, None) != repository or query.get("state") != ["x=1"]:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        digest = query["digest"][0]
        if digest != "sha256:" + hashlib.sha256(self.body).hexdigest():
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        fake.blobs[digest] = self.body
        self.reply(201, b"", "text/plain", {"Location": f"/v2/{repository}/blobs/{digest}"})

    def put_manifest(self, repository, name):
        fake = self.registry
        digest = "sha256:" + hashlib.sha256(self.body).hexdigest()
        o = json.loads(self.body)
        if ":" in name and name != digest:
            return self.error(400, "DIGEST_INVALID", "another digest")
        for d in ([o["config"]] if "config" in o else []) + o.get("layers", []):
            if d["digest"] not in fake.blobs:
                return self.error(400, "MANIFEST_BLOB_UNKNOWN", d["digest"])
        for key in (name, digest):
            fake.manifests[repository, key] = (self.headers["Content-Type"], self.body)
        subject = {"OCI-Subject": o["subject"]["digest"]} if "subject" in o and fake.referrers else {}
        self.reply(201, b"", "text/plain", {"Docker-Content-Digest": digest, **subject})

    def list_referrers(self, repository, subject, query):
        fake, found = self.registry, []
        kind = query.get("artifactType", [None])[0] if fake.filters else None
        with fake.lock:
            manifests = sorted(fake.manifests.items())
        for (where, name), (media_type, data) in manifests:
            o = json.loads(data)
            if where != repository or ":" not in name or o.get("subject", {}).get("digest") != subject:
                continue
            d = {"mediaType": media_type, "digest": name, "size": len(data), "annotations": o.get("annotations", {}),
                 "artifactType": o.get("artifactType") or o["config"]["mediaType"]}
            if kind in (None, d["artifactType"]):
                found.append(d)
        at = int(query.get("at", ["0"])[0])
        headers = {"OCI-Filters-Applied": "artifactType"} if kind else {}
        if at + fake.referrers_page < len(found):
            more = urllib.parse.urlencode({**{k: v[0] for k, v in query.items()}, "at": at + fake.referrers_page})
            headers["Link"] = f'</v2/{repository}/referrers/{subject}?{more}>; rel="next"'
        body = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": found[at:at + fake.referrers_page]}
        self.content(json.dumps(body).encode(), body["mediaType"], headers)

    # -- who may

    def basic(self):
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        return base64.b64decode(value).decode()

    def allowed(self):
        fake = self.registry
        if fake.auth == "basic":
            return self.basic() == f"{fake.user}:{fake.password}"
        if fake.auth == "token":
            scheme, _, value = self.headers.get("Authorization", "").partition(" ")
            right = "pull" if self.command in ("GET", "HEAD") else "push"
            return scheme == "Bearer" and fake.tokens.get(value, 0) > time.monotonic() and right in fake.rights[value]
        return True

    def challenge(self):
        fake = self.registry
        if fake.auth == "token":
            repository = re.match(r"/v2/(.+?)/(manifests|blobs|referrers)/", self.path)
            rights = "pull" if self.command in ("GET", "HEAD") else "pull,push"
            value = (f'Bearer realm="{fake.realm}",service="fake",'
                     f'scope="repository:{repository[1] if repository else ""}:{rights}"')
        else:
            value = 'Basic realm="fake"'
        self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": value})

    def token(self, query):
        fake = self.registry
        if self.command == "POST":
            form = urllib.parse.parse_qs(self.body.decode())
            good = fake.identity_token and form.get("refresh_token") == [fake.identity_token] and \
                form.get("grant_type") == ["refresh_token"] and "scope" in form
        else:
            good = fake.user is None or self.basic() == f"{fake.user}:{fake.password}"
            good = good and query.get("service") == ["fake"] and "scope" in query
        if not good:
            return self.error(401, "UNAUTHORIZED", "incorrect username or password")
        token = secrets.token_urlsafe(24)
        fake.rights[token] = (query if self.command == "GET" else form)["scope"][0].rpartition(":")[2].split(",")
        fake.tokens[token] = time.monotonic() + fake.token_seconds
        name = "access_token" if self.command == "POST" else "token"
        self.reply(200, json.dumps({name: token, "expires_in": fake.token_seconds}).encode(), "application/json")

    # -- replies

    def error(self, code, name, message, headers={}):
        body = json.dumps({"errors": [{"code": name, "message": message}]}).encode()
        self.reply(code, body, "application/json", headers)

    def reply(self, code, body, media_type, headers={}):
        self.send(code, [body], len(body), {"Content-Type": media_type, **headers})

    def blob(self, digest):
        data = self.registry.blobs.get(digest)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        self.content(data, "application/octet-stream", {"Docker-Content-Digest": digest})

    def content(self, data, media_type, headers):
        faults = self.faults
        headers = {"Content-Type": media_type, **headers, **faults.get("headers", {}).get("headers", {})}
        if "corrupt" in faults:
            at = faults["corrupt"].get("at", 0)
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        n = faults.get("resize", faults.get("no_length_resize", {})).get("n", 0)
        data = data[:n] if n < 0 else data + bytes(n)
        code, first, last = 200, 0, len(data) - 1
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if m and "no_range" not in faults:
            first, last = int(m[1]), min(int(m[2] or last), last)
            if first > last:
                return self.reply(416, b"", "text/plain", {"Content-Range": f"bytes */{len(data)}"})
            if "part" in faults:
                last = min(last, first + faults["part"]["n"] - 1)
            code = 206
            headers["Content-Range"] = faults.get("content_range", {}).get("value") or f"bytes {first}-{last}/{len(data)}"
        view = memoryview(data)[first:last + 1]
        self.send(code, (view[i:i + CHUNK] for i in range(0, len(view), CHUNK)), len(view), headers)

    def send(self, code, chunks, size, headers):
        faults = self.faults
        self.entry["status"] = code
        if "cut_head" in faults:
            self.wfile = CutFile(self, **faults["cut_head"])
        with_length = not ({"no_length", "no_length_resize"} & faults.keys())
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if with_length:
            self.send_header("Content-Length", str(size))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = faults.get("cut", faults.get("cut_and_expire", {})).get("at")
        stall = faults.get("stall", {}).get("at")
        rate = faults.get("slow", {}).get("rate")
        sent = 0
        for chunk in chunks:
            chunk = memoryview(chunk)
            while len(chunk):
                stop = min([len(chunk)] + [at - sent for at in (cut, stall) if at is not None and at > sent])
                if rate:
                    stop = min(stop, max(1, rate // 20))
                self.wfile.write(chunk[:stop])
                sent += stop
                chunk = chunk[stop:]
                if cut is not None and sent >= cut:
                    if "cut_and_expire" in faults:
                        self.registry.expire_tokens()
                    return self.hang_up()
                if stall is not None and sent >= stall:
                    time.sleep(faults["stall"].get("seconds", 60))
                    return self.hang_up()
                if rate:
                    time.sleep(0.05)

    def endless(self, code=200, head=False):
        self.close_connection = True
        self.entry["status"] = code
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        if head:
            self.flush_headers()
        else:
            self.end_headers()
        try:
            while True:
                self.wfile.write(b"X-More: " + b"x" * 8000 + b"\r\n" if head else b"x" * 65536)
        except OSError:
            pass

    def hang_up(self):
        """Resets: a closing handshake would look like an end."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        if not isinstance(self.connection, ssl.SSLSocket):
            time.sleep(0.02)  # a reset also throws away what the other side has not read
        try:
            self.connection.close()
        except OSError:
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layout", action="append", default=[], metavar="DIR=REPOSITORY")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--auth", choices=["basic", "token"])
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--token-seconds", type=int, default=300)
    parser.add_argument("--rules", default="[]", help="JSON")
    a = parser.parse_args()
    fake = RegistryFake(address=a.address, port=a.port, tls=a.tls, auth=a.auth, user=a.user, password=a.password,
                        token_seconds=a.token_seconds)
    for layout in a.layout:
        directory, _, repository = layout.rpartition("=")
        fake.add_layout(directory, repository)
    fake.rules = [Rule(**r) for r in json.loads(a.rules)]
    fake.start()
    print("ready", fake.host, flush=True)
    try:
        fake.thread.join()
    except KeyboardInterrupt:
        fake.close()


if __name__ == "__main__":
    sys.exit(main())
