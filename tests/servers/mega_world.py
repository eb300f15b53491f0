"""A world in which MEGA's own host names lead to the MEGA of the tests: run as root inside `unshare --net --mount`.

    python -m tests.servers.mega_world FOLDER

Debian's megatools and frametx fetch the same files there, over TLS, from the addresses that they have built in. What each
of them got is printed as JSON.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import ipaddress
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.mega import FakeMega, Server

API_HOST = "g.api.mega.co.nz"
DATA_HOST = "gfs.userstorage.mega.co.nz"
DATA_PORT = 8081
SECURE_DATA_PORT = 8443
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def main() -> None:
    folder = Path(sys.argv[1])
    raise_loopback()
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {API_HOST} {DATA_HOST}\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    certificate = make_certificate(folder)
    subprocess.run(["mount", "--bind", str(certificate), str(SYSTEM_CERTIFICATES)], check=True)
    mega = FakeMega()
    mega.data_base = f"http://{DATA_HOST}:{DATA_PORT}"
    mega.secure_data_base = f"https://{DATA_HOST}:{SECURE_DATA_PORT}"
    serve(mega, 443, certificate)
    serve(mega, DATA_PORT, None)
    serve(mega, SECURE_DATA_PORT, certificate)

    plain = b"PK\x03\x04" + random.Random(3).randbytes(4_999_999)
    link = mega.add(plain, name="model.pth")
    handle, key = link.split("/")[-1].split("#")
    bad = mega.add(plain[:300_000], name="bad.pth")
    spoilt = mega.files[bad.split("/")[-1].split("#")[0]]
    spoilt.cipher = spoilt.cipher[:1000] + bytes([spoilt.cipher[1000] ^ 1]) + spoilt.cipher[1001:]
    links = {
        "new form": link,
        "old form": f"https://mega.nz/#!{handle}!{key}",
        "flipped bit": bad,
        "unknown": f"https://mega.nz/file/AAAAAAAA#{key}",
    }
    results: dict[str, Any] = {"sha256": hashlib.sha256(plain).hexdigest()}
    results["megatools"] = {name: with_megatools(url, folder / f"megatools {name}") for name, url in links.items()}
    results["frametx"] = {name: with_frametx(url, folder / f"frametx {name}") for name, url in links.items()}
    sys.stdout.write(json.dumps(results))


def with_megatools(url: str, target: Path) -> dict[str, Any]:
    """Fetch with a client that others have written."""
    environment = {**os.environ, "MEGATOOLS_PKP_DISABLE": "1"}  # its pinned key is MEGA's
    command = ["megatools", "dl", "--no-progress", "--path", str(target), url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return {"failed": done.returncode != 0, "said": done.stdout + done.stderr, "sha256": digest(target)}


def with_frametx(url: str, target: Path) -> dict[str, Any]:
    """Fetch with our own client, from the address that it has built in."""
    code = (
        "import sys, pathlib\nfrom frametx.download.fetch import fetch\nfrom frametx.download.job import Job\n"
        "fetch(sys.argv[1], Job(part=pathlib.Path(sys.argv[2]), limit_bytes=1 << 30, wait=lambda _seconds: None))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "FRAMETX_MEGA_API"}
    environment["REQUESTS_CA_BUNDLE"] = str(SYSTEM_CERTIFICATES)
    command = [sys.executable, "-c", code, url, str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return {"failed": done.returncode != 0, "said": done.stdout + done.stderr, "sha256": digest(target)}


def digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def serve(mega: FakeMega, port: int, certificate: Path | None) -> None:
    server = Server(("127.0.0.1", port), mega.handler())
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def raise_loopback() -> None:
    """A new network namespace begins with its loopback down."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def make_certificate(folder: Path) -> Path:
    """Make a certificate for MEGA's API that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, API_HOST)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(API_HOST), x509.DNSName(DATA_HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


if __name__ == "__main__":
    main()
