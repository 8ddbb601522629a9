"""One PostgreSQL and one Valkey for all runs, given to tests in place of their own."""

import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_DATABASE = "template_migrated"


class Servers:
    """A plugin of pytest that knows the fixtures which start servers."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._fixtures: dict[str, Any] = {}

    def start(self) -> None:
        """Start both, and make the migrated database that tests copy; once."""
        if self._fixtures:
            return
        # Of the copied tree: that is first on the path once there is one.
        from app.local.postgres import Postgres  # noqa: PLC0415
        from app.local.process import running  # noqa: PLC0415
        from app.local.valkey import Valkey  # noqa: PLC0415

        class Shared(Postgres):
            """A run that was killed leaves its databases behind."""

            def create_database(self, name: str, *, template: str = "template1") -> str:
                self.drop_database(name)
                return super().create_database(name, template=template)

        home = Path(tempfile.mkdtemp(prefix="secateur-mutation-"))
        self._running.callback(shutil.rmtree, home)
        fast = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        postgres = self._running.enter_context(running(Shared(home, fast)))
        valkey = self._running.enter_context(running(Valkey(home)))
        # In a process of its own: what is imported here no run would import again, broken.
        migrate = "import sys; from app.db import migrate; migrate.upgrade(sys.argv[1])"
        url = postgres.create_database(_DATABASE)
        subprocess.run([sys.executable, "-c", migrate, url], check=True)
        self._fixtures = {
            "postgres_server": postgres,
            "valkey_server": valkey,
            "template_database": _DATABASE,
        }

    def stop(self) -> None:
        """Stop what was started."""
        self._running.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        """Give what runs already."""
        given = self._fixtures.get(fixturedef.argname)
        if given is not None:
            fixturedef.cached_result = (given, fixturedef.cache_key(request), None)
        return given
