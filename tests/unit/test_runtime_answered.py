"""Repeats of a mutating request."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import projects_pb2
from milimo_runtime import answered
from milimo_runtime.answered import answer_once, forget_answers
from milimo_runtime.database import now
from milimo_runtime.errors import AlreadyExists
from milimo_runtime.schema import AnsweredRow
from sqlalchemy import select, update

if TYPE_CHECKING:
    from milimo_runtime.database import Database
    from sqlalchemy.orm import Session

REQUEST = "5d0fcd3c-6f0e-4a6a-8a3f-0d2f9a5fbd0c"


class Projects:
    """Counts how often the work was done."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.done = 0

    def create(self, name: str, request_id: str = REQUEST) -> str:
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name=name), request_id=request_id)

        def work(session: Session) -> projects_pb2.CreateProjectResponse:
            self.done += 1
            return projects_pb2.CreateProjectResponse(project=projects_pb2.Project(id=str(self.done)))

        return answer_once(self.database, request, projects_pb2.CreateProjectResponse, work).project.id

    def update(self, name: str, request_id: str = REQUEST) -> None:
        """Its request has the same bytes as that of `create`."""
        request = projects_pb2.UpdateProjectRequest(project=projects_pb2.Project(name=name), request_id=request_id)
        answer_once(
            self.database,
            request,
            projects_pb2.UpdateProjectResponse,
            lambda session: pytest.fail("the id belongs to another request"),
        )


@pytest.fixture
def projects(database: Database) -> Projects:
    return Projects(database)


def test_a_repeat_gets_the_first_answer(projects: Projects) -> None:
    assert [projects.create("a") for _ in range(3)] == ["1", "1", "1"]
    assert projects.done == 1


def test_without_an_id_each_request_is_its_own(projects: Projects) -> None:
    assert [projects.create("a", "") for _ in range(2)] == ["1", "2"]


def test_an_id_cannot_be_used_for_something_else(projects: Projects) -> None:
    projects.create("a")
    with pytest.raises(AlreadyExists) as caught:
        projects.create("b")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(AlreadyExists):
        projects.update("a")
    assert projects.done == 1


def test_work_that_failed_leaves_nothing_and_may_be_repeated(projects: Projects) -> None:
    class Broken(Exception):
        pass

    def broken(session: Session) -> projects_pb2.CreateProjectResponse:
        session.add(AnsweredRow(request_id="other", method="", request_hash="", response=b"", created_at=now()))
        session.flush()
        raise Broken

    request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="a"), request_id=REQUEST)
    with pytest.raises(Broken):
        answer_once(projects.database, request, projects_pb2.CreateProjectResponse, broken)
    assert remembered(projects.database) == set()
    assert projects.create("a") == "1"


def test_repeats_that_come_at_once_do_the_work_once(projects: Projects) -> None:
    answers: list[str] = []
    barrier = threading.Barrier(5)

    def ask() -> None:
        barrier.wait()
        answers.append(projects.create("a"))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["1"] * 5
    assert projects.done == 1


def remembered(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(AnsweredRow.request_id)))


def test_answers_are_forgotten_when_their_time_has_come(projects: Projects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answered, "_COLLECTED_AT_ONCE", 2)
    old = [f"0000000{number}-6f0e-4a6a-8a3f-0d2f9a5fbd0c" for number in range(5)]
    for request_id in (*old, REQUEST):
        projects.create("a", request_id)
    day = timedelta(days=1)
    with projects.database.write() as session:
        session.execute(update(AnsweredRow).where(AnsweredRow.request_id.in_(old)).values(created_at=now() - 2 * day))
    assert forget_answers(projects.database, before=now() - day) == 5
    assert remembered(projects.database) == {REQUEST}
    assert forget_answers(projects.database, before=now() - day) == 0
    # The id is free again, for any request.
    assert projects.create("b", old[0]) == "7"
