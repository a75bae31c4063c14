"""Tiny SAM 3 checkpoints: the real architectures and folder layouts with small random weights.

    detector/   Sam3Model: text → all instances; with Sam3Processor (image processor, CLIP tokenizer)
    tracker/    Sam3TrackerModel: points and boxes → this object's mask; with Sam3TrackerProcessor

As in the real checkpoint both have the same image backbone. Their masks are noise by design, but never all empty, and
the detector finds some instances of anything above the default confidence: a demo shows something to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from milimo_runtime.vision_ops import prepare_torchvision

from milimo_tiny.vocabulary import byte_level_bpe

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPTokenizer, Sam3ImageProcessor, Sam3Model, Sam3TrackerModel

_IMAGE_SIZE = 224
_PATCH_SIZE = 14
_WIDTH = 32
# Prompts of SAM 3 are short noun phrases: its text encoder has 32 positions.
_TEXT_POSITIONS = 32
# Standard deviation of the weights. With the usual 0.02 signals die out on their way through so narrow layers, and what
# is left would round differently on each machine.
_SPREAD = 0.2
_LAYERS = {"hidden_size": _WIDTH, "num_attention_heads": 2, "initializer_range": _SPREAD}


def write_sam3(root: Path, seed: int = 0) -> None:
    """Writes both checkpoints below `root`, which is created. The same seed gives the same files."""
    prepare_torchvision()
    import torch
    from transformers import Sam3Processor, Sam3TrackerProcessor

    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = _detector(tokenizer)
        tracker = _tracker()
    tracker.vision_encoder.backbone.load_state_dict(detector.vision_encoder.backbone.state_dict())
    detector.save_pretrained(root / "detector")
    Sam3Processor(image_processor=_image_processor(), tokenizer=tokenizer).save_pretrained(root / "detector")
    tracker.save_pretrained(root / "tracker")
    Sam3TrackerProcessor(image_processor=_image_processor()).save_pretrained(root / "tracker")


def _detector(tokenizer: CLIPTokenizer) -> Sam3Model:
    import torch
    from transformers import CLIPTextConfig, Sam3Config, Sam3Model

    model: Sam3Model = Sam3Model(
        Sam3Config(
            vision_config=_vision_config(scale_factors=[4.0, 2.0, 1.0, 0.5]),
            text_config=CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=_WIDTH,
                intermediate_size=64,
                projection_dim=_WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=_TEXT_POSITIONS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                initializer_factor=10.0,
            ),
            geometry_encoder_config={**_LAYERS, "num_layers": 1, "intermediate_size": 64},
            detr_encoder_config={**_LAYERS, "num_layers": 1, "intermediate_size": 64},
            detr_decoder_config={**_LAYERS, "num_layers": 1, "intermediate_size": 64, "num_queries": 10},
            mask_decoder_config=_LAYERS,
            initializer_range=_SPREAD,
        )
    ).eval()
    with torch.no_grad():
        # Queries differ from each other, and their scores centre above 0.5: sqrt(32) · 0.5² ≈ 1.4 → 0.80.
        scoring = model.dot_product_scoring
        for projection in (scoring.query_proj, scoring.text_proj):
            projection.weight.normal_(0.0, _SPREAD)
            projection.bias.fill_(0.5)
        model.detr_decoder.query_embed.weight.normal_(0.0, 1.0)
        model.detr_decoder.presence_head.layer3.bias.fill_(4.0)
    return model


def _tracker() -> Sam3TrackerModel:
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    return Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=_vision_config(scale_factors=[4.0, 2.0, 1.0]),
            prompt_encoder_config={"hidden_size": _WIDTH, "image_size": _IMAGE_SIZE, "patch_size": _PATCH_SIZE},
            mask_decoder_config={
                "hidden_size": _WIDTH,
                "mlp_dim": 64,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": _WIDTH,
            },
            initializer_range=_SPREAD,
        )
    ).eval()


def _vision_config(*, scale_factors: list[float]) -> dict[str, object]:
    patches = _IMAGE_SIZE // _PATCH_SIZE
    return {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": _WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _IMAGE_SIZE,
            "pretrain_image_size": _IMAGE_SIZE,
            "patch_size": _PATCH_SIZE,
            "window_size": 8,
            "global_attn_indexes": [1],
            "initializer_range": _SPREAD,
        },
        "fpn_hidden_size": _WIDTH,
        "initializer_range": _SPREAD,
        "scale_factors": scale_factors,
        "backbone_feature_sizes": [[patches * scale, patches * scale] for scale in (4, 2, 1)],
    }


def _image_processor() -> Sam3ImageProcessor:
    from transformers import Sam3ImageProcessor

    mask_size = 4 * _IMAGE_SIZE // _PATCH_SIZE
    return Sam3ImageProcessor(
        size={"height": _IMAGE_SIZE, "width": _IMAGE_SIZE}, mask_size={"height": mask_size, "width": mask_size}
    )


def _tokenizer() -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    vocabulary, merges = byte_level_bpe(size=1024, end_of_word="</w>")
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_TEXT_POSITIONS)
