"""StoryboardService: scripts to shots; storing, matching, generating and cutting them come later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from milimo.v1 import storyboard_pb2, storyboard_pb2_grpc
from milimo_runtime.assets import require_project
from milimo_runtime.later import later, later_stream

from milimo_storyboard.script import parse_script
from milimo_storyboard.script_messages import MODE_OF, script_message

if TYPE_CHECKING:
    import grpc.aio
    from milimo_runtime.database import Database

    Context = grpc.aio.ServicerContext[Any, Any]


class StoryboardService(storyboard_pb2_grpc.StoryboardServiceServicer):
    """Scripts and storyboards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ParseScript(
        self, request: storyboard_pb2.ParseScriptRequest, context: Context
    ) -> storyboard_pb2.ParseScriptResponse:
        """Scenes and shots of a script, by rules."""

        def parse() -> storyboard_pb2.ParseScriptResponse:
            if request.project_id:
                with self._database.read() as session:
                    require_project(session, request.project_id)
            return script_message(parse_script(request.script, MODE_OF[request.mode]))

        return await asyncio.to_thread(parse)

    AiParseScript = later("parsing scripts with a language model")
    MatchElements = later("matching elements to shots")
    CommitStoryboard = GetStoryboard = later("storing storyboards")
    AddScene = UpdateScene = DeleteScene = ReorderScenes = later("editing scenes")
    AddShot = UpdateShot = DeleteShot = SplitShot = ReorderShots = later("editing shots")
    SubmitThumbnails = later("concept art for shots")
    GenerateThumbnails = later_stream("concept art for shots")
    SubmitShot = SubmitShots = later("generating the videos of shots")
    GenerateShot = GenerateShots = later_stream("generating the videos of shots")
    SubmitTimelineRender = later("rendering the timeline")
    RenderTimeline = later_stream("rendering the timeline")
    ExportTimeline = ImportTimeline = later("exchanging timelines as OpenTimelineIO")
