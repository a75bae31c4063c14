"""What is known of a LoRA before anything is loaded: where it is, whether it fits the model, what it reads."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.errors import InvalidArgument, MilimoError, ModelMissing, NotFound
from milimo_runtime.registry import Registry, write_manifest
from milimo_video.installed import meet
from milimo_video.plan import plan_video
from milimo_video.reference_size import reference_frames
from milimo_video.request import Condition, Lora, VideoRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REQUEST = VideoRequest(prompt="a red ball", seed=1)
LAYER = "transformer_blocks.0.attn1.to_q"
WEIGHTS = {f"{LAYER}.weight": (64, 32), "proj_in.weight": (48, 16), "time_embed.linear.weight": (8, 4)}


def write_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> None:
    """A file of zeros."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def install(root: Path, name: str, purpose: str) -> None:
    manifest = {"name": name, "family": "real", "purpose": purpose}
    manifest["checkpoint"] = "distilled" if purpose == "video" else ""
    write_manifest(root / name, {**manifest, "license": "", "note": "", "advice": "Get it."}, footprints=[])


def factors(layer: str, inputs: int, outputs: int, rank: int = 2) -> dict[str, tuple[int, ...]]:
    return {f"{layer}.lora_A.weight": (rank, inputs), f"{layer}.lora_B.weight": (outputs, rank)}


OFFICIAL = f"diffusion_model.{LAYER}"
# Name → purpose, weights, metadata.
LORAS: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, str]]] = {
    "official": ("lora", factors(OFFICIAL, 32, 64) | factors("diffusion_model.patchify_proj", 16, 48), {}),
    "diffusers": ("lora", factors(f"transformer.{LAYER}", 32, 64), {}),
    "renamed": ("lora", factors("diffusion_model.adaln_single.linear", 4, 8), {}),
    "small": ("lora", factors(OFFICIAL, 32, 64), {"reference_downscale_factor": "2"}),
    "slow": ("ic_lora", factors(OFFICIAL, 32, 64), {"reference_temporal_scale_factor": "4"}),
    "bare": ("ic_lora", factors(OFFICIAL, 32, 64), {}),
    "wider": ("lora", factors(OFFICIAL, 48, 64), {}),
    "other": ("lora", factors("transformer.single_transformer_blocks.0.proj_out", 32, 64), {}),
    "no factors": ("lora", {"transformer.x.weight": (2, 2)}, {}),
    "half": ("lora", {f"{OFFICIAL}.lora_A.weight": (2, 32)}, {}),
    "nonsense": ("lora", factors(OFFICIAL, 32, 64), {"reference_downscale_factor": "2.5"}),
}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path, "real")
    root = registry.root / "ltx-2"
    for folder in ("text_encoder", "vae", "audio_vae", "vocoder", "latent_upsampler", "tokenizer", "scheduler"):
        (root / folder).mkdir(parents=True)
    write_safetensors(root / "transformer" / "model.safetensors", WEIGHTS, {})
    write_safetensors(root / "connectors" / "model.safetensors", {"text_proj_in.weight": (8, 8)}, {})
    install(registry.root, "ltx-2", "video")
    for name, (purpose, shapes, metadata) in LORAS.items():
        write_safetensors(registry.root / name / "lora.safetensors", shapes, metadata)
        install(registry.root, name, purpose)
    return registry


def asked(registry: Registry, *names: str) -> VideoRequest:
    request = replace(REQUEST, loras=tuple(Lora(name=name, weight=0.5) for name in names))
    return meet(registry.model("ltx-2"), request)


@pytest.mark.parametrize("name", ["official", "diffusers", "renamed"])
def test_a_lora_that_fits_is_accepted_in_either_way_of_naming(registry: Registry, name: str) -> None:
    assert asked(registry, name).loras == (Lora(name=name, weight=0.5),)


@pytest.mark.parametrize(("name", "scales"), {"small": (2, 1), "slow": (1, 4), "bare": (1, 1)}.items())
def test_a_lora_says_that_and_how_it_reads_references(registry: Registry, name: str, scales: tuple[int, int]) -> None:
    request = asked(registry, "official", name)
    assert [lora.in_context for lora in request.loras] == [False, True]
    assert request.reference_scales == scales
    plan = plan_video(request, "distilled")
    assert plan.pipeline == "ic_lora"
    assert plan.reason == f"there is the IC-LoRA {name}; with the LoRAs official at weight 0.5, {name} at weight 0.5"


# Names, what the error is and what it says.
WRONG: list[tuple[tuple[str, ...], type[MilimoError], str]] = [
    (("wider",), InvalidArgument, r"loras\[0\]\.name: .*for another model.*48 inputs and 64 outputs.*has 32 and 64"),
    (("official", "other"), InvalidArgument, r"loras\[1\]\.name: .*for another model.*real/ltx-2 does not have"),
    (("no factors",), InvalidArgument, "holds no LoRA"),
    (("half",), InvalidArgument, "damaged"),
    (("nonsense",), InvalidArgument, "'2.5'"),
    (("ltx-2",), InvalidArgument, "not a LoRA"),
    (("official", "official"), InvalidArgument, "named twice"),
    (("small", "slow"), InvalidArgument, "one IC-LoRA"),
    (("absent",), NotFound, "no LoRA"),
    (("../real/official",), NotFound, "no LoRA"),
]


@pytest.mark.parametrize(("names", "kind", "said"), WRONG)
def test_what_does_not_fit_is_refused(
    registry: Registry, names: tuple[str, ...], kind: type[MilimoError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        asked(registry, *names)


@pytest.mark.parametrize("where", ["ltx-2/transformer/model.safetensors", "official/lora.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 40, -1])
def test_a_file_that_is_cut_off_is_named_though_its_manifest_agrees(registry: Registry, where: str, kept: int) -> None:
    path = registry.root / where
    path.write_bytes(path.read_bytes()[:kept])
    install(registry.root, where.partition("/")[0], "video" if where.startswith("ltx") else "lora")
    with pytest.raises(ModelMissing, match=path.name) as caught:
        asked(registry, "official")
    assert "milimo models verify" in caught.value.message


def test_a_file_that_is_missing_is_named(registry: Registry) -> None:
    (registry.root / "official" / "lora.safetensors").unlink()
    with pytest.raises(ModelMissing, match=r"lora\.safetensors \(missing\)\. Get it\."):
        asked(registry, "official")


@pytest.mark.parametrize(
    ("frames", "scale", "shown"),
    [
        (1, 1, [0]),
        (17, 1, list(range(17))),
        (17, 2, [0, 1, 3, 5, 7, 9, 11, 13, 15]),
        (33, 4, [0, 1, 5, 9, 13, 17, 21, 25, 29]),
        (9, 4, [0]),
    ],
)
def test_which_frames_of_a_reference_are_shown(frames: int, scale: int, shown: list[int]) -> None:
    assert reference_frames(frames, scale) == shown


def test_a_size_is_rounded_so_that_smaller_references_are_on_the_grid_too(registry: Registry) -> None:
    clip = Condition(asset_id="clip", kind="video", frames=121)
    request = replace(asked(registry, "small"), width=704, height=480, conditions=(clip,))
    plan = plan_video(request, "distilled")
    assert (plan.model_width, plan.model_height) == (768, 512)
    (chunk,) = plan.chunks
    # 16 latent frames of 12 × 8 tokens and of 6 × 4; in stage 2 no reference.
    assert (chunk.stage_1_tokens, chunk.stage_2_tokens) == (16 * (12 * 8 + 6 * 4), 16 * 24 * 16)
