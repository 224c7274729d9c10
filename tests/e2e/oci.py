"""oci: makes, converts and pushes OCI images without any image tool.

An image is a list of plain tars. The same tars packed another way keep their diffIDs, which is
what the tests compare. Nothing here is lazyrun's code, so the two can disagree.
"""
import base64
import hashlib
import http.client
import io
import json
import os
import shutil
import ssl
import subprocess
import tarfile
import urllib.parse

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER = {
    MANIFEST: "application/vnd.docker.distribution.manifest.v2+json",
    INDEX: "application/vnd.docker.distribution.manifest.list.v2+json",
    CONFIG: "application/vnd.docker.container.image.v1+json",
    LAYER: "application/vnd.docker.image.rootfs.diff.tar",
    LAYER + "+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
FORMS = ("gzip", "zstd", "none")
PACKERS = {"gzip": ["gzip", "-n", "-6", "-c"], "zstd": ["zstd", "-q", "-3", "-c"], "none": ["cat"]}
UNPACKERS = {"gzip": ["igzip" if shutil.which("igzip") else "gzip", "-d", "-c"],
             "zstd": ["zstd", "-q", "-d", "-c"], "none": ["cat"]}
SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_file(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return "sha256:" + h.hexdigest()


def form_of(media_type):
    for form in ("gzip", "zstd"):
        if media_type.endswith(form):
            return form
    return "none"


# --- members of a tar ---

def member(name, data=b"", mode=0o644, uid=0, gid=0, mtime=1700000000, type=tarfile.REGTYPE,
           linkname="", xattrs=None, pax=None, device=(0, 0)):
    """One tar member, as (TarInfo, data). xattrs: {name: bytes}."""
    t = tarfile.TarInfo(name)
    t.mode, t.uid, t.gid, t.type, t.linkname = mode, uid, gid, type, linkname
    t.size = len(data)
    t.devmajor, t.devminor = device
    t.pax_headers = dict(pax or {})
    if isinstance(mtime, str):  # a decimal with its fraction, exact
        t.pax_headers["mtime"] = mtime
    else:
        t.mtime = mtime
    for k, v in (xattrs or {}).items():
        t.pax_headers["SCHILY.xattr." + k] = v.decode("utf-8", "surrogateescape")
    return t, data


def directory(name, mode=0o755, **kw):
    return member(name, mode=mode, type=tarfile.DIRTYPE, **kw)


def symlink(name, target, **kw):
    return member(name, mode=0o777, type=tarfile.SYMTYPE, linkname=target, **kw)


def hardlink(name, target, **kw):
    return member(name, type=tarfile.LNKTYPE, linkname=target, **kw)


def whiteout(path):
    head, tail = os.path.split(path)
    return member(os.path.join(head, ".wh." + tail))


def opaque(path):
    return member(os.path.join(path, ".wh..wh..opq"))


def tar(members, format=tarfile.PAX_FORMAT):
    """The bytes of a tar of member()s."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as t:
        for info, data in members:
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


# --- layouts ---

class Layout:
    """An OCI image layout directory."""

    def __init__(self, path):
        self.path = str(path)
        os.makedirs(self.path + "/blobs/sha256", exist_ok=True)
        if not os.path.exists(self.path + "/oci-layout"):
            self._write("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
            self._write("index.json", json.dumps({"schemaVersion": 2, "manifests": []}).encode())

    def _write(self, name, data):
        tmp = f"{self.path}/{name}.{os.getpid()}"
        with open(tmp, "wb") as f:
            f.write(data)
        os.rename(tmp, f"{self.path}/{name}")

    def blob_path(self, digest):
        return f"{self.path}/blobs/{digest.replace(':', '/')}"

    def read(self, digest):
        with open(self.blob_path(digest), "rb") as f:
            return f.read()

    def put(self, data):
        """Stores bytes; returns their digest."""
        digest = sha256(data)
        self._write("blobs/sha256/" + digest[7:], data)
        return digest

    def put_json(self, value):
        return self.put(json.dumps(value, separators=(",", ":")).encode())

    def descriptor(self, digest, media_type, **more):
        return {"mediaType": media_type, "digest": digest,
                "size": os.path.getsize(self.blob_path(digest)), **more}

    def put_layer(self, plain, form="gzip"):
        """Packs a plain tar (bytes, or the path of a file). Returns (descriptor, diffID)."""
        path = plain
        if isinstance(plain, (bytes, bytearray)):
            path = f"{self.path}/plain.{os.getpid()}"
            with open(path, "wb") as f:
                f.write(plain)
        packed = f"{self.path}/packed.{os.getpid()}"
        with open(packed, "wb") as out, open(path, "rb") as src:
            subprocess.run(PACKERS[form], stdin=src, stdout=out, check=True)
        diff_id, digest = sha256_file(path), sha256_file(packed)
        os.rename(packed, self.blob_path(digest))
        if path is not plain:
            os.unlink(path)
        return self.descriptor(digest, LAYER + SUFFIX[form]), diff_id

    def tag(self, name, descriptor):
        with open(self.path + "/index.json", "rb") as f:
            index = json.load(f)
        index["manifests"] = [m for m in index["manifests"] if self._tag_of(m) != name]
        index["manifests"].append(
            {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})
        self._write("index.json", json.dumps(index).encode())

    @staticmethod
    def _tag_of(m):
        return m.get("annotations", {}).get("org.opencontainers.image.ref.name")

    def resolve(self, name):
        """The descriptor behind a tag."""
        with open(self.path + "/index.json", "rb") as f:
            for m in json.load(f)["manifests"]:
                if self._tag_of(m) == name:
                    return m
        raise KeyError(name)

    def tags(self):
        with open(self.path + "/index.json", "rb") as f:
            return [self._tag_of(m) for m in json.load(f)["manifests"]]

    def manifest(self, name):
        return json.loads(self.read(self.resolve(name)["digest"]))

    def config(self, name):
        return json.loads(self.read(self.manifest(name)["config"]["digest"]))

    def put_image(self, name, layers, config=None, architecture="amd64", docker=False, **top):
        """layers: [(descriptor, diffID)]. Returns the manifest's descriptor."""
        image_config = {"architecture": architecture, "os": "linux", "config": config or {},
                        "rootfs": {"type": "layers", "diff_ids": [d for _, d in layers]},
                        "history": [{"created_by": "lab"} for _ in layers], **top}
        t = (lambda x: DOCKER[x]) if docker else (lambda x: x)
        manifest = {"schemaVersion": 2, "mediaType": t(MANIFEST),
                    "config": self.descriptor(self.put_json(image_config), t(CONFIG)),
                    "layers": [{**d, "mediaType": t(d["mediaType"])} for d, _ in layers]}
        d = self.descriptor(self.put_json(manifest), t(MANIFEST))
        self.tag(name, d)
        return d

    def build(self, name, tars, config=None, form="gzip", **kw):
        """The usual way: a list of plain tars (bytes or paths) becomes an image."""
        return self.put_image(name, [self.put_layer(t, form) for t in tars], config, **kw)

    def convert(self, name, new_name, form):
        """The same image with its layers packed otherwise."""
        manifest, config = self.manifest(name), self.config(name)
        layers = []
        for d, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
            plain = f"{self.path}/unpacked.{os.getpid()}"
            unpack(self.blob_path(d["digest"]), form_of(d["mediaType"]), plain)
            packed, got = self.put_layer(plain, form)
            os.unlink(plain)
            assert got == diff_id, (got, diff_id)
            layers.append((packed, diff_id))
        manifest["layers"] = [d for d, _ in layers]
        manifest["mediaType"] = MANIFEST
        manifest["config"]["mediaType"] = CONFIG
        d = self.descriptor(self.put_json(manifest), MANIFEST)
        self.tag(new_name, d)
        return d


def unpack(blob_path, form, out_path):
    with open(blob_path, "rb") as src, open(out_path, "wb") as out:
        subprocess.run(UNPACKERS[form], stdin=src, stdout=out, check=True)


# --- pushing ---

class Registry:
    """A client that only pushes: address is "host:port"."""

    def __init__(self, address, ca=None, user=None):
        self.address, self.ca = address, ca
        self.auth = {}
        if user:
            self.auth = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}

    def request(self, method, url, body=None, headers=None):
        """Returns (status, headers, body)."""
        split = urllib.parse.urlsplit(url)
        where = split.netloc or self.address
        if self.ca or split.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca)
            c = http.client.HTTPSConnection(where, timeout=60, context=context)
        else:
            c = http.client.HTTPConnection(where, timeout=60)
        path = split.path + ("?" + split.query if split.query else "")
        c.request(method, path, body=body, headers={**self.auth, **(headers or {})})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def put_blob(self, repository, digest, path):
        status, _, _ = self.request("HEAD", f"/v2/{repository}/blobs/{digest}")
        if status == 200:
            return
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/",
                                             headers={"Content-Length": "0"})
        if status != 202:
            raise RuntimeError(f"{self.address}: POST of an upload: {status} {body!r}")
        where = headers["Location"]
        where += ("&" if "?" in where else "?") + "digest=" + urllib.parse.quote(digest)
        with open(path, "rb") as f:
            status, _, body = self.request(
                "PUT", where, f, {"Content-Length": str(os.path.getsize(path)),
                                  "Content-Type": "application/octet-stream"})
        if status != 201:
            raise RuntimeError(f"{self.address}: PUT of {digest}: {status} {body!r}")

    def put_manifest(self, repository, tag, data, media_type):
        status, _, body = self.request("PUT", f"/v2/{repository}/manifests/{tag}", data,
                                       {"Content-Type": media_type})
        if status != 201:
            raise RuntimeError(f"{self.address}: PUT of manifest {tag}: {status} {body!r}")

    def push(self, layout, name, repository, tag="latest"):
        """Pushes a tag of a layout (image or index), byte for byte. Returns "host:port/repo:tag"."""
        self._push(layout, layout.resolve(name), repository, tag)
        return f"{self.address}/{repository}:{tag}"

    def _push(self, layout, descriptor, repository, tag):
        data = layout.read(descriptor["digest"])
        document = json.loads(data)
        for child in document.get("manifests", []):
            self._push(layout, child, repository, child["digest"])
        for blob in document.get("layers", []) + ([document["config"]] if "config" in document else []):
            self.put_blob(repository, blob["digest"], layout.blob_path(blob["digest"]))
        self.put_manifest(repository, tag, data, descriptor["mediaType"])
