"""SeaweedFS, a real S3 server, with one user."""

import json
import signal
import sys
from pathlib import Path

import obstore
from obstore.store import S3Store

from app.local.process import Process, Program
from app.local.valkey import free_port

ACCESS, SECRET = "secateur", "a-secret-of-the-tests"
USER = {
    "name": "secateur",
    "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List"],
}


class Weed(Process):
    """SeaweedFS with its S3 gateway, all on 127.0.0.1 and on free ports."""

    def __init__(self, data_dir, volume_megabytes=64, volumes=20):
        (data_dir / "weed").mkdir(parents=True)
        config = data_dir / "s3.json"
        config.write_text(json.dumps({"identities": [USER]}))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bucket_url = "s3://artifacts"
        self._bucket = S3Store(
            "artifacts",
            endpoint=self.url,
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        ports = [f"-{server}.port={free_port()}" for server in ("master", "volume", "filer")]
        grpc = [f"-{s}.port.grpc={free_port()}" for s in ("master", "volume", "filer", "s3")]
        argv = [
            *(str(Path(sys.executable).with_name("weed")), "server", f"-dir={data_dir / 'weed'}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", *ports, *grpc),
            *("-s3", f"-s3.port={self.port}", f"-s3.config={config}", "-s3.port.iceberg=0"),
            *("-s3.port.lance=0", "-s3.autoCreateBucket", f"-volume.max={volumes}"),
            f"-master.volumeSizeLimitMB={volume_megabytes}",
        ]
        # It takes ten seconds to say goodbye; what it holds is thrown away.
        program = Program(name="weed", argv=argv, stop_signal=signal.SIGKILL)
        super().__init__(program, data_dir)

    def ready(self):
        try:
            obstore.put(self._bucket, "ready", b"yes")
        except obstore.exceptions.BaseError:
            return False
        return True
