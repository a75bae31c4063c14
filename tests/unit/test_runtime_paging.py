"""Pages: so many items, and no more than a message holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from milimo.v1 import projects_pb2
from milimo_runtime.limits import MESSAGE_BYTES
from milimo_runtime.paging import cut


def message(size: int) -> projects_pb2.Project:
    return projects_pb2.Project(name="x" * size)


@given(sizes=st.lists(st.integers(0, 3000), max_size=30), size=st.integers(1, 12), max_bytes=st.integers(1024, 12_000))
def test_pages_hold_everything_once_in_order_and_fit(sizes: list[int], size: int, max_bytes: int) -> None:
    items = list(enumerate(sizes))
    seen: list[int] = []
    start, token = 0, "first"
    while token:
        found = items[start : start + size + 1]
        page, token = cut(found, size, lambda item: str(item[0]), lambda item: message(item[1]), max_bytes=max_bytes)
        assert len(page) <= size
        answer = projects_pb2.ListProjectsResponse(projects=page, next_page_token=token)
        assert answer.ByteSize() <= max_bytes or len(page) == 1
        seen += [len(project.name) for project in page]
        if token:
            # The token is that of the last item on the page.
            assert page
            start = int(token) + 1
    assert seen == sizes


def test_a_page_is_not_cut_without_need() -> None:
    page, token = cut([1_000_000] * 6, 5, str, message)
    assert (len(page), token) == (4, "1000000")
    whole, token = cut([1_000_000] * 4, 5, str, message)
    assert (len(whole), token) == (4, "")
    assert projects_pb2.ListProjectsResponse(projects=whole).ByteSize() < MESSAGE_BYTES
