"""One process that makes videos with diffusers alone. Its pipelines stay loaded.

python child_reference_video.py CHECKPOINT

A line {"prompt", "seed", "width", "height", "num_frames", "fps", "encoder", "path"} is answered with {"seconds"}. The
calls are those of the video service: two stages, a latent upsampler between, sound of the first one; what differs is
only what calls them. `encoder` is "mp4_writer", the service's, or "encode_video", diffusers' own.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from milimo_runtime.vision_ops import prepare_torchvision

prepare_torchvision()

import torch  # noqa: E402
from diffusers import (  # noqa: E402
    FlowMatchEulerDiscreteScheduler,
    LTX2LatentUpsamplePipeline,
    LTX2Pipeline,
)
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel  # noqa: E402
from diffusers.utils.export_utils import encode_video  # noqa: E402
from milimo_video.encode import Mp4Writer, write_thumbnail  # noqa: E402
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2  # noqa: E402
from milimo_video.stages import UNGUIDED  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH_FRAMES: Final = 16


class Reference:
    """The pipelines, as diffusers loads them."""

    def __init__(self, root: Path) -> None:
        self._pipe: Any = LTX2Pipeline.from_pretrained(root)
        self._pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
            self._pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
        )
        upsampler = LTX2LatentUpsamplerModel.from_pretrained(root, subfolder="latent_upsampler")
        self._upsample = LTX2LatentUpsamplePipeline(vae=self._pipe.vae, latent_upsampler=upsampler)
        for pipeline in (self._pipe, self._upsample):
            pipeline.set_progress_bar_config(disable=True)

    def make(self, request: dict[str, Any]) -> None:
        """Makes and writes one video."""
        width, height, frames, fps = (request[name] for name in ("width", "height", "num_frames", "fps"))
        pipe = self._pipe
        # Once for both stages: the pipeline would do it for each.
        embeds, mask, _, _ = pipe.encode_prompt(request["prompt"], do_classifier_free_guidance=False)
        common = {
            "prompt_embeds": embeds,
            "prompt_attention_mask": mask,
            "num_frames": frames,
            "frame_rate": float(fps),
            "generator": torch.Generator("cpu").manual_seed(request["seed"]),
            "output_type": "latent",
            "return_dict": False,
            **UNGUIDED.arguments(),
        }
        half = {"width": width // 2, "height": height // 2}
        video, audio = pipe(**common, **half, **_schedule(DISTILLED))
        (larger,) = self._upsample(latents=video, **half, num_frames=frames, output_type="latent", return_dict=False)
        video, _ = pipe(
            **common,
            width=width,
            height=height,
            **_schedule(DISTILLED_STAGE_2),
            latents=larger,
            audio_latents=audio,
        )
        # Decoded by hand: the pipeline would decode the second stage's sound too, which nobody hears.
        with torch.no_grad():
            decoded = pipe.vae.decode(video, None, return_dict=False)[0][0]
            sound = pipe.vocoder(pipe.audio_vae.decode(audio, return_dict=False)[0])[0]
        rate = pipe.vocoder.config.output_sampling_rate
        path = Path(request["path"])
        if request["encoder"] == "encode_video":
            encode_video(_pictures(decoded), fps=fps, output_path=str(path), audio=sound, audio_sample_rate=rate)
            return
        samples = sound.numpy()[:, : round(frames * rate / fps)]
        with Mp4Writer(
            path, width=width, height=height, fps=fps, sample_rate=rate, comment="", description=request["prompt"]
        ) as writer:
            for index, pictures in enumerate(_pictures(decoded)):
                if not index:
                    first = pictures[0].numpy()
                writer.write_frames(pictures.numpy())
            writer.write_audio(samples)
        write_thumbnail(first, path.with_suffix(".jpg"))


def _schedule(sigmas: tuple[float, ...]) -> dict[str, Any]:
    """The pipelines' arguments for these noise levels."""
    return {"num_inference_steps": len(sigmas), "sigmas": list(sigmas), "noise_scale": sigmas[0]}


def _pictures(decoded: torch.Tensor) -> Iterator[torch.Tensor]:
    """Frames [3, n, H, W] in [-1, 1] as RGB bytes [few, H, W, 3]: in one piece they would not fit into the cache."""
    for batch in decoded.split(_BATCH_FRAMES, dim=1):
        unit = (batch * 0.5 + 0.5).clamp_(0, 1)
        yield unit.mul_(255).round_().to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def main() -> None:
    """Answers until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    reference = Reference(Path(sys.argv[1]))
    for line in sys.stdin:
        begin = time.monotonic()
        reference.make(json.loads(line))
        answers.write(json.dumps({"seconds": time.monotonic() - begin}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
