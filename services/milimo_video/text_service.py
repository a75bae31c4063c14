"""TextGenerationService: part of the contract; the feature comes later."""

from __future__ import annotations

from milimo.v1 import text_pb2_grpc
from milimo_runtime.later import later


class TextGenerationService(text_pb2_grpc.TextGenerationServiceServicer):
    """Text from the video model's text encoder."""

    GenerateText = later("text generation with the video model's text encoder")
