from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.errors import InvalidArgument
from milimo_video import limits
from milimo_video.plan import VideoPlan, plan_video
from milimo_video.request import Condition, Lora, PipelineOverride, VideoRequest

ASK = VideoRequest(prompt="a red ball", seed=7)
START = Condition(asset_id="a", kind="image")
END = Condition(asset_id="b", kind="image", frame_index=-1)
CLIP = Condition(asset_id="c", kind="video")
DEPTH = Lora(name="depth", in_context=True)
STYLE = Lora(name="style")


def plan(**changes: Any) -> VideoPlan:
    return plan_video(replace(ASK, **changes), "distilled")


def codes(made: VideoPlan) -> list[str]:
    return [notice.code for notice in made.notices]


@pytest.mark.parametrize(
    ("changes", "pipeline", "why"),
    [
        ({}, "ti2vid", "only a prompt"),
        ({"num_frames": 1}, "image", "single frame"),
        ({"num_frames": 1, "pipeline_override": PipelineOverride.TI2VID}, "image", "single frame"),
        ({"conditions": (START,)}, "ti2vid", "image at frame 0"),
        ({"conditions": (END,)}, "ti2vid", "image at frame 120"),
        ({"conditions": (START, END)}, "keyframe", "different frames (0, 120)"),
        ({"conditions": (START, END), "pipeline_override": PipelineOverride.TI2VID}, "ti2vid", "asks for ti2vid"),
        ({"conditions": (CLIP,), "pipeline_override": PipelineOverride.TI2VID}, "ti2vid", "asks for ti2vid"),
        ({"conditions": (START,), "pipeline_override": PipelineOverride.KEYFRAME}, "keyframe", "asks for keyframe"),
        ({"conditions": (CLIP,)}, "ic_lora", "a video condition"),
        ({"loras": (DEPTH,)}, "ic_lora", "the IC-LoRA depth"),
        ({"conditions": (CLIP,), "loras": (DEPTH,)}, "ic_lora", "a video condition and the IC-LoRA depth"),
        ({"loras": (STYLE,)}, "ti2vid", "only a prompt"),
        ({"loras": (DEPTH,), "pipeline_override": PipelineOverride.IC_LORA}, "ic_lora", "asks for ic_lora"),
        # The first row that holds: images at different frames come before the video.
        ({"conditions": (START, END, replace(CLIP, frame_index=8))}, "keyframe", "different frames"),
    ],
)
def test_choice_of_the_pipeline(changes: dict[str, object], pipeline: str, why: str) -> None:
    made = plan(**changes)
    assert made.pipeline == pipeline
    assert why in made.reason


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"negative_prompt": "x" * 10_001}, "negative_prompt"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": -5}, "num_frames"),
        ({"num_frames": 20_001}, "num_frames"),
        ({"width": 255}, "width"),
        ({"width": 0}, "width"),
        ({"width": 4098}, "width"),
        ({"height": 127}, "height"),
        ({"height": 4098}, "height"),
        ({"fps": 0}, "fps"),
        ({"fps": 29}, "fps"),
        ({"seed": -1}, "seed"),
        ({"overlap_frames": 0}, "overlap_frames"),
        ({"overlap_frames": 97}, "overlap_frames"),
        ({"chunk_prompts": ("",) * 257}, "chunk_prompts"),
        ({"chunk_prompts": ("", "x" * 10_001)}, "chunk_prompts[1]"),
        ({"seed": 2**63}, "seed"),
        ({"steps": 0}, "steps"),
        ({"conditions": (replace(START, asset_id=""),)}, "conditions[0].asset_id"),
        ({"conditions": (START, replace(END, frame_index=121))}, "conditions[1].frame_index"),
        ({"conditions": (replace(START, frame_index=-122),)}, "conditions[0].frame_index"),
        ({"conditions": (replace(START, strength=1.01),)}, "conditions[0].strength"),
        ({"conditions": (replace(START, strength=-0.1),)}, "conditions[0].strength"),
        ({"conditions": (replace(START, strength=float("nan")),)}, "conditions[0].strength"),
        ({"conditions": (END, replace(START, frame_index=120))}, "conditions[1].frame_index"),
        ({"conditions": tuple(replace(START, frame_index=i) for i in range(33))}, "conditions"),
        ({"conditions": (START, CLIP), "pipeline_override": PipelineOverride.TI2VID}, "conditions[1].frame_index"),
        ({"pipeline_override": PipelineOverride.KEYFRAME}, "pipeline_override"),
        ({"pipeline_override": PipelineOverride.IC_LORA}, "pipeline_override"),
        ({"pipeline_override": PipelineOverride.IC_LORA, "loras": (STYLE,)}, "pipeline_override"),
        ({"loras": (replace(STYLE, name=""),)}, "loras[0].name"),
        ({"loras": (replace(STYLE, weight=float("nan")),)}, "loras[0].weight"),
        ({"loras": (STYLE,) * 11}, "loras"),
    ],
)
def test_errors_name_the_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(**changes)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_frames": 20_000},
        {"width": 4096, "height": 4096},
        {"width": 2, "height": 2},
        {"prompt": "x" * 10_000},
        {"prompt": "", "conditions": (START,)},
        {"seed": 0},
        {"seed": limits.MAX_SEED},
        {"conditions": (replace(START, strength=0.0, frame_index=-121),)},
        # An image may have odd sides: its own service rounds them.
        {"num_frames": 1, "width": 255, "height": 1},
        *({"fps": fps} for fps in (24, 25, 30, 48, 50, 60)),
    ],
)
def test_limits_are_inclusive(changes: dict[str, object]) -> None:
    assert plan(**changes).num_frames == changes.get("num_frames", 121)


def test_rounding_is_told_and_the_result_is_as_asked() -> None:
    made = plan(num_frames=100, width=250, height=130)
    assert (made.width, made.height, made.num_frames) == (250, 130, 100)
    assert (made.model_width, made.model_height, made.model_frames) == (256, 192, 105)
    assert codes(made) == ["SIZE_ROUNDED", "FRAMES_ROUNDED"]
    assert "100 frames up to 105" in made.notices[1].text
    assert codes(plan()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"negative_prompt": "rain"}, ["NEGATIVE_PROMPT_IGNORED"]),
        ({"negative_prompt": ""}, []),
        ({"negative_prompt": None}, []),
        ({"steps": 20}, ["STEPS_IGNORED"]),
        ({"steps": 8}, []),
    ],
)
def test_options_without_effect_are_told(changes: dict[str, object], expected: list[str]) -> None:
    assert codes(plan(**changes)) == expected


def test_negative_prompt_default_and_empty() -> None:
    assert plan().negative_prompt == limits.DEFAULT_NEGATIVE_PROMPT
    assert plan(negative_prompt="").negative_prompt == ""


def test_steps_follow_the_checkpoint() -> None:
    assert (plan().stage_1_steps, plan().stage_2_steps) == (8, 3)
    assert plan_video(ASK, "dev").stage_1_steps == 40
    assert plan_video(replace(ASK, steps=12), "dev").stage_1_steps == 12
    assert codes(plan_video(replace(ASK, steps=12, negative_prompt="rain"), "dev")) == []
    with pytest.raises(InvalidArgument, match="steps"):
        plan_video(replace(ASK, steps=1), "dev")


def test_long_videos_are_chained_and_conditions_go_to_their_chunk() -> None:
    middle = replace(END, frame_index=150)
    made = plan(num_frames=300, conditions=(START, middle, END))
    assert made.chained
    assert "3 chunks" in made.reason
    assert [chunk.span.start for chunk in made.chunks] == [0, 121, 217]
    assert [chunk.seed for chunk in made.chunks] == [7, 8, 9]
    placed = [[(condition.index, condition.frame) for condition in chunk.conditions] for chunk in made.chunks]
    assert placed == [[(0, 0)], [(1, 150 - 121 + 25)], [(2, 299 - 217 + 25)]]


@pytest.mark.parametrize(
    ("pipeline", "begin", "lasts", "wanted", "told"),
    [
        # Chunk, frame in it, frames, from which of the video's on. A reference is on the chunk's grid.
        ("ti2vid", 0, 300, [(0, 0, 121, 0), (1, 25, 89, 121), (2, 25, 81, 217)], "first 298 of its 300"),
        ("ic_lora", 0, 300, [(0, 0, 121, 0), (1, 0, 121, 96), (2, 0, 105, 192)], "first 297 of its 300"),
        ("ti2vid", 110, 17, [(0, 110, 9, 0), (1, 25, 1, 11)], "first 12 of its 17"),
        ("ic_lora", 110, 17, [(0, 110, 9, 0), (1, 14, 17, 0)], ""),
        ("ti2vid", 250, 9, [(2, 250 - 217 + 25, 9, 0)], ""),
    ],
)
def test_a_video_condition_goes_on_from_chunk_to_chunk(
    pipeline: str, begin: int, lasts: int, wanted: list[tuple[int, int, int, int]], told: str
) -> None:
    clip = replace(CLIP, frame_index=begin, frames=lasts)
    made = plan(num_frames=300, conditions=(clip,), pipeline_override=PipelineOverride(pipeline))
    placed = [
        (chunk.span.index, condition.frame, condition.frames, condition.read_from)
        for chunk in made.chunks
        for condition in chunk.conditions
    ]
    assert placed == wanted
    assert [
        notice.text for notice in made.notices if notice.code == "CONDITION_TRIMMED" and told not in notice.text
    ] == []
    assert ("CONDITION_TRIMMED" in codes(made)) == bool(told)


def test_chunk_size_is_configurable() -> None:
    made = plan_video(replace(ASK, num_frames=100), "distilled", chunk_frames=49)
    assert [chunk.span.frames for chunk in made.chunks] == [49, 49, 49, 33]
    made = plan_video(replace(ASK, num_frames=100, overlap_frames=9), "distilled", chunk_frames=49)
    assert [chunk.span.frames for chunk in made.chunks] == [49, 49, 25]


@pytest.mark.parametrize(
    ("frames", "chunks", "last"),
    [
        (1, 0, 0),
        (2, 1, 9),
        (9, 1, 9),
        (121, 1, 121),
        (122, 2, 33),
        (217, 2, 121),
        (218, 3, 33),
        (250, 3, 65),
        (1091, 12, 41),
        (5000, 52, 105),
    ],
)
def test_chunks_of_a_length(frames: int, chunks: int, last: int) -> None:
    """The first of 121, each further one adds 96 and repeats 25; the last is only as long as it must be."""
    made = plan(num_frames=frames)
    assert len(made.chunks) == chunks
    assert [chunk.span.frames for chunk in made.chunks[-1:]] == ([last] if last else [])
    assert all(chunk.span.frames == 121 for chunk in made.chunks[:-1])
    assert [chunk.span.start for chunk in made.chunks] == [0, *range(121, frames, 96)][:chunks]
    assert sum(chunk.span.kept for chunk in made.chunks) == (frames if chunks else 0)
    assert [chunk.span.overlap for chunk in made.chunks] == [0, *[25] * (chunks - 1)][:chunks]
    names = [stage.name for stage in made.stages]
    assert names.count("join") == (chunks > 1)
    assert not chunks or names[0] == ("chunk_1.encode_text" if chunks > 1 else "encode_text")


@pytest.mark.parametrize(("chunk_frames", "overlap"), [(121, 25), (49, 25), (33, 25), (25, 17), (17, 9), (9, 1)])
def test_overlap_leaves_room_for_new_frames(chunk_frames: int, overlap: int) -> None:
    made = plan_video(replace(ASK, num_frames=300), "distilled", chunk_frames=chunk_frames)
    assert made.overlap.frames == overlap
    with pytest.raises(InvalidArgument, match="nothing new"):
        plan_video(replace(ASK, num_frames=300, overlap_frames=18), "distilled", chunk_frames=min(chunk_frames, 25))


def test_prompts_of_further_chunks() -> None:
    asked = replace(ASK, num_frames=500, negative_prompt="rain, Static , loop,", chunk_prompts=("it stops", " "))
    made = plan_video(asked, "dev")
    assert [chunk.prompt for chunk in made.chunks] == [
        "a red ball",
        "it stops",
        "a red ball",
        "a red ball",
        "a red ball",
    ]
    first, *further = [chunk.negative_prompt for chunk in made.chunks]
    assert first == "rain, Static , loop,"
    assert set(further) == {"rain, Static , loop, freeze, pause, still image, motionless"}
    words = "static, freeze, loop, pause, still image, motionless"
    assert plan(num_frames=122, negative_prompt="").chunks[1].negative_prompt == words
    # The default has them all.
    assert plan(num_frames=122).chunks[1].negative_prompt == limits.DEFAULT_NEGATIVE_PROMPT
    assert codes(made) == ["FRAMES_ROUNDED"]
    unused = plan(num_frames=130, chunk_prompts=("a", "b", "c"))
    assert "the last 2 of 3" in next(n.text for n in unused.notices if n.code == "CHUNK_PROMPTS_IGNORED")


@given(
    frames=st.integers(2, 3000),
    width=st.integers(1, 2048).map(lambda n: 2 * n),
    height=st.integers(1, 2048).map(lambda n: 2 * n),
    fps=st.sampled_from(limits.ACCEPTED_FPS),
)
def test_plans_hold_together(frames: int, width: int, height: int, fps: int) -> None:
    made = plan(num_frames=frames, width=width, height=height, fps=fps)
    assert made.model_width % 64 == made.model_height % 64 == 0
    assert 0 <= made.model_width - width < 64
    assert 0 <= made.model_height - height < 64
    names = [stage.name for stage in made.stages]
    assert len(set(names)) == len(names) == 5 * len(made.chunks) + made.chained
    assert all(stage.steps >= 1 and stage.step_cost > 0 for stage in made.stages)
    assert sum(stage.steps for stage in made.stages if stage.name.endswith("decode")) == frames


def test_planning_imports_no_torch() -> None:
    code = "import milimo_video.plan, sys; assert not {'torch', 'grpc', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
