"""What stands in a FLUX.2 klein checkpoint's folder beside the weights: its schedule and the list of its parts.

Import this module only after `milimo_runtime.vision_ops.prepare_torchvision`: the models' libraries load torchvision.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import diffusers

if TYPE_CHECKING:
    from pathlib import Path


def scheduler() -> Any:
    """The scheduler with the values of the real checkpoint."""
    return diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def write_layout(root: Path, *, is_distilled: bool) -> None:
    """Writes scheduler/ and model_index.json, which says whether few steps and no guidance are enough."""
    scheduler().save_pretrained(root / "scheduler")
    index: dict[str, Any] = {
        "_class_name": "Flux2KleinPipeline",
        "_diffusers_version": diffusers.__version__,
        "is_distilled": is_distilled,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    (root / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
