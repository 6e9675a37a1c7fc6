"""A bucket of a real S3-compatible server on loopback, as a test writes to it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import httpx
from botocore.client import BaseClient
from botocore.config import Config

from tests.lifecycle.shelf import plus
from tests.server_process import free_ports

KEY, SECRET = "AKIATESTKEY", "a-secret-that-nobody-may-read"
BUCKET = "models"


class Bucket:
    """Writes where `prefix` is the root of a repository; each test has a prefix of its own."""

    def __init__(self, address: str, prefix: str) -> None:
        self.url = f"s3://{BUCKET}/{prefix}"
        self._prefix = prefix
        self._client = client(address)

    def put(self, path: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=f"{self._prefix}/{path}", Body=content)

    def put_version(self, model: str, version: int = 1, content: bytes = b"") -> None:
        """Write y = x + version, unless told otherwise."""
        self.put(f"{model}/{version}/model.onnx", content or plus(version))

    def put_folder(self, folder: Path, path: str) -> None:
        """Write all files of a folder, the manifest last."""
        for file in sorted(folder.rglob("*"), key=lambda file: (file.name == "manifest.json", file)):
            if file.is_file():
                self.put(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def delete(self, path: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=f"{self._prefix}/{path}")


def client(address: str) -> BaseClient:
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )


@contextmanager
def s3_server(log_file: Path) -> Iterator[str]:
    """Moto's S3 API over HTTP in a process of its own, with a bucket in it; its address."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://{address}/moto-api/")
                break
            except httpx.HTTPError:
                assert time.monotonic() < until, log_file.read_text()
                time.sleep(0.05)
        client(address).create_bucket(Bucket=BUCKET)
        yield address
    finally:
        process.terminate()
        process.wait(10)
