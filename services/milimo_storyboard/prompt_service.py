"""PromptService: part of the contract; the feature comes later."""

from __future__ import annotations

from milimo.v1 import prompts_pb2_grpc
from milimo_runtime.later import later


class PromptService(prompts_pb2_grpc.PromptServiceServicer):
    """Prompt enrichment and its settings."""

    EnhancePrompt = later("enriching prompts")
    GetLlmSettings = UpdateLlmSettings = ListLlmModels = later("settings of the language model")
