"""ElementService: part of the contract; the feature comes later."""

from __future__ import annotations

from milimo.v1 import elements_pb2_grpc
from milimo_runtime.later import later, later_stream


class ElementService(elements_pb2_grpc.ElementServiceServicer):
    """Recurring characters, locations and objects."""

    CreateElement = GetElement = ListElements = UpdateElement = DeleteElement = later("elements")
    SubmitElementVisual = later("pictures of elements")
    GenerateElementVisual = later_stream("pictures of elements")
