"""Clicks on images with a segmentation model whose sizes are those of SAM 3, but for the depth of its backbone.

python child_clicks.py TINY_CHECKPOINT

Weights are random: time does not depend on them. A line {"seed"} is answered with {"first", "second"}: seconds of two
clicks on an image that the seed makes. The tiny checkpoint gives the detector, which no click asks.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from milimo_runtime.device import device_plan
from milimo_segmentation.embeddings import embedding_cache
from milimo_segmentation.models import SegmentationModels, load_segmentation_models
from milimo_segmentation.predict import predict_mask
from milimo_segmentation.prompts import Point

_LAYERS: Final = 2
_SIZE: Final = (1280, 720)


def real_cost(tiny: Path) -> SegmentationModels:
    """The tiny checkpoint with a tracker of real width, image size and decoder."""
    models = load_segmentation_models(tiny / "detector", tiny / "tracker", device_plan("cpu"))
    import torch
    from transformers import Sam3ImageProcessor, Sam3TrackerConfig, Sam3TrackerModel, Sam3TrackerProcessor

    config: Any = Sam3TrackerConfig()
    config.vision_config.backbone_config.num_hidden_layers = _LAYERS
    # One layer in eight looks at the whole image in the real model: here one of two.
    config.vision_config.backbone_config.global_attn_indexes = [_LAYERS - 1]
    torch.manual_seed(0)
    processor = Sam3TrackerProcessor(image_processor=Sam3ImageProcessor())
    return replace(models, tracker=Sam3TrackerModel(config).eval(), tracker_processor=processor)


def main() -> None:
    """Answers until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    models = real_cost(Path(sys.argv[1]))
    import numpy as np
    from PIL import Image

    width, height = _SIZE
    for line in sys.stdin:
        noise = np.random.default_rng(json.loads(line)["seed"]).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image, cache, took = Image.fromarray(noise), embedding_cache(), []
        for x in (width / 3, width / 2):
            begin = time.monotonic()
            for mask in predict_mask(models, cache, image, [Point(x=x, y=height / 2)], [], multimask=True):
                mask.field.mask()
            took.append(time.monotonic() - begin)
        answers.write(json.dumps({"first": took[0], "second": took[1]}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
