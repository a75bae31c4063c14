"""Repeats of a mutating request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from milimo.v1 import projects_pb2
from milimo_runtime.answered import answer_once
from milimo_runtime.errors import AlreadyExists

if TYPE_CHECKING:
    from milimo_runtime.database import Database

REQUEST = "5d0fcd3c-6f0e-4a6a-8a3f-0d2f9a5fbd0c"


class Projects:
    """Counts how often the work was done."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.done = 0

    def create(self, name: str, request_id: str = REQUEST, method: str = "CreateProject") -> str:
        request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name=name), request_id=request_id)

        def work() -> projects_pb2.CreateProjectResponse:
            self.done += 1
            return projects_pb2.CreateProjectResponse(project=projects_pb2.Project(id=str(self.done)))

        with self.database.write() as session:
            return answer_once(
                session,
                method=method,
                request=request,
                request_id=request_id,
                response=projects_pb2.CreateProjectResponse,
                work=work,
            ).project.id


@pytest.fixture
def projects(database: Database) -> Projects:
    return Projects(database)


def test_a_repeat_gets_the_first_answer(projects: Projects) -> None:
    assert [projects.create("a") for _ in range(3)] == ["1", "1", "1"]
    assert projects.done == 1


def test_without_an_id_each_request_is_its_own(projects: Projects) -> None:
    assert [projects.create("a", "") for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize(("name", "method"), [("b", "CreateProject"), ("a", "UpdateProject")])
def test_an_id_cannot_be_used_for_something_else(projects: Projects, name: str, method: str) -> None:
    projects.create("a")
    with pytest.raises(AlreadyExists):
        projects.create(name, method=method)
    assert projects.done == 1


def test_work_that_failed_may_be_repeated(projects: Projects) -> None:
    class Broken(Exception):
        pass

    def broken() -> projects_pb2.CreateProjectResponse:
        raise Broken

    request = projects_pb2.CreateProjectRequest(project=projects_pb2.Project(name="a"), request_id=REQUEST)
    with pytest.raises(Broken), projects.database.write() as session:
        answer_once(
            session,
            method="CreateProject",
            request=request,
            request_id=REQUEST,
            response=projects_pb2.CreateProjectResponse,
            work=broken,
        )
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
