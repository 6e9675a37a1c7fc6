"""A certificate for this machine, that signs itself."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.call import HOST


class Signed(NamedTuple):
    """PEM files; who trusts the certificate knows it by itself."""

    certificate: Path
    key: Path


def sign(folder: Path) -> Signed:
    signed = Signed(folder / "server.pem", folder / "server.key")
    names = f"subjectAltName=IP:{HOST}"
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    kept = ("-keyout", str(signed.key), "-out", str(signed.certificate))
    command = ["openssl", "req", "-x509", *made, "-subj", "/CN=tercet", "-addext", names, *kept]
    subprocess.run(command, check=True, capture_output=True)
    return signed
