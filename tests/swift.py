"""A real S3 server for the tests: OpenStack Swift from the package index, four plain processes on loopback.

It checks signatures and checksums, keeps objects on disk and survives being killed. It lives in a virtual environment
of its own, `.venv-swift`, built when it is first needed. Fixtures: `s3_server`, one server a session, and `s3`, which
points this process at it.
"""

import getpass
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from padray.store.s3 import S3Location

VENV = Path(__file__).parents[1] / ".venv-swift"
SWIFT = "swift==2.38.3"
BUCKET = "padray-tests"
START_S = 60.0
OWNER, STRANGER = (("test:tester", secrets.token_hex(16)), ("test:stranger", "guessing"))  # access key, secret
PARTS = ("account", "container", "object", "proxy")

COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
workers = 0
log_level = WARNING
log_udp_host = 127.0.0.1
log_udp_port = 9
fallocate_reserve = 0
"""
STORING = """
[pipeline:main]
pipeline = healthcheck {part}-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:{part}-server]
use = egg:swift#{part}
"""
SPEAKING = f"""
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy container_quotas slo
    proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {OWNER[1]} .admin
user_test_stranger = {STRANGER[1]}
[filter:cache]
use = egg:swift#memcache
# nobody listens there: without a cache, every request asks the disks
memcache_servers = 127.0.0.1:9
[filter:slo]
use = egg:swift#slo
# nothing runs here that would free the parts of deleted objects later
allow_async_delete = false
""" + "".join(
    f"[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "container_quotas")
)
HASHES = """
[swift-hash]
swift_hash_path_prefix = padray
swift_hash_path_suffix = padray
[storage-policy:0]
name = one
default = yes
"""
RINGS = """
import sys
from swift.common.ring import RingBuilder
for name, port in (argument.split("=") for argument in sys.argv[1:]):
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1, "meta": ""}
    ring.add_dev({**place, "replication_ip": "127.0.0.1", "replication_port": int(port)})
    ring.rebalance()
    ring.get_ring().save(f"{name}.ring.gz")
"""
QUOTA = """
import sys
etc, bucket, limit = sys.argv[1:]
from swift.common import utils
utils.set_swift_dir(etc)
from swift.common.direct_client import direct_post_container
from swift.common.ring import Ring
part, nodes = Ring(etc, ring_name="container").get_nodes("AUTH_test", bucket)
direct_post_container(nodes[0], part, "AUTH_test", bucket, headers={"X-Container-Meta-Quota-Bytes": limit})
"""


def install() -> None:
    """Build the environment once, whoever else wants it now. Raises OSError or CalledProcessError if it cannot be."""
    with FileLock(f"{VENV}.lock"):
        if (VENV / "ready").exists():
            return
        quiet = {"check": True, "capture_output": True, "timeout": 300}
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], **quiet)
        subprocess.run([VENV / "bin/python", "-m", "pip", "install", "--quiet", SWIFT], **quiet)
        (VENV / "ready").touch()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Swift:
    """The server: it can be started, stopped, killed, frozen and thawed; what it stores stays on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.etc = folder, folder / "etc"
        self.ports = dict(zip(PARTS, free_ports(4), strict=True))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "devices/d1").mkdir(parents=True)
        self.etc.mkdir()
        (self.etc / "swift.conf").write_text(HASHES)
        for part in PARTS:
            self._configure(part)
        self._build_rings()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    def environment(self, who: tuple[str, str] = OWNER) -> dict[str, str]:
        """What points the AWS tools at this server, and at nothing else that this machine may know."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": who[0],
            "AWS_SECRET_ACCESS_KEY": who[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def _configure(self, part: str) -> None:
        """A part's settings."""
        text = COMMON.format(
            port=self.ports[part], user=getpass.getuser(), etc=self.etc, devices=self.folder / "devices"
        ) + (SPEAKING if part == "proxy" else STORING.format(part=part))
        (self.etc / f"{part}-server.conf").write_text(text)

    def _build_rings(self) -> None:
        """The tables that say where accounts, containers and objects are: here, all of them."""
        command = [VENV / "bin/python", "-c", RINGS, *(f"{part}={self.ports[part]}" for part in PARTS[:3])]
        subprocess.run(command, cwd=self.etc, check=True, capture_output=True)

    def start(self) -> None:
        """Start all parts and wait until each of them answers."""
        for part in PARTS:
            command = [VENV / "bin/python", VENV / f"bin/swift-{part}-server", self.etc / f"{part}-server.conf"]
            with (self.folder / f"{part}.log").open("ab") as log:
                self.running[part] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        until = time.monotonic() + START_S
        while not all(self._answers(part) for part in PARTS):
            assert time.monotonic() < until, f"Swift did not start; see {self.folder}/*.log"
            time.sleep(0.05)

    def _answers(self, part: str) -> bool:
        assert self.running[part].poll() is None, (self.folder / f"{part}.log").read_text()[-2000:]
        url = f"http://127.0.0.1:{self.ports[part]}/healthcheck"
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def signal(self, number: int) -> None:
        for process in self.running.values():
            process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of every part."""
        self.signal(signal.SIGKILL)
        for process in self.running.values():
            process.wait()

    def limit(self, bucket: str, size: int | None) -> None:
        """Let a bucket hold at most so many bytes; None: as many as there is room for."""
        command = [VENV / "bin/python", "-c", QUOTA, self.etc, bucket, "" if size is None else str(size)]
        subprocess.run(command, check=True, capture_output=True)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


class Store:
    """The running server as this process and its commands see it."""

    def __init__(self, server: Swift) -> None:
        self.server = server

    @property
    def environment(self) -> dict[str, str]:
        """For a command that shall use the server."""
        return {**os.environ, **self.server.environment()}

    def by_file(self, folder: Path) -> dict[str, str]:
        """AWS settings without a secret: the credentials lie in a file."""
        path = folder / "credentials"
        path.write_text(f"[default]\naws_access_key_id = {OWNER[0]}\naws_secret_access_key = {OWNER[1]}\n")
        settings = self.server.environment() | {"AWS_SHARED_CREDENTIALS_FILE": str(path)}
        return {name: value for name, value in settings.items() if value not in OWNER}

    def root(self) -> str:
        """A storage root that nobody has used."""
        return f"s3://{BUCKET}/{secrets.token_hex(8)}"

    def location(self) -> S3Location:
        return S3Location(self.root())


def problem(folder: Path) -> str:
    """Why Swift cannot run here; empty if it can."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.name, "user.padray", b"1")
        except (OSError, AttributeError):
            return f"the file system of {folder} keeps no user xattrs, which Swift needs"
    try:
        install()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{SWIFT} cannot be installed into {VENV.name}: {type(error).__name__}"
    return ""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A server with one empty bucket."""
    folder = tmp_path_factory.mktemp("swift")
    if reason := problem(folder):
        pytest.skip(reason)
    server = Swift(folder)
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patched:
            point(patched, server.environment())
            S3Location(f"s3://{BUCKET}").client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.kill()


def point(patched: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Let this process use these AWS settings and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patched.delenv(name)
    for name, value in environment.items():
        patched.setenv(name, value)


@pytest.fixture
def s3(s3_server: Swift, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server, with this process's environment pointing at it."""
    point(monkeypatch, s3_server.environment())
    return Store(s3_server)
