"""The text encoder of videos learns what captions say, each fact as loud as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from milimo_runtime.vision_ops import prepare_torchvision
from milimo_shapes.prompts import embed_captions
from milimo_shapes.sampling import random_scene
from milimo_shapes.scene import Motion
from milimo_shapes.shipped import VIDEO, WEIGHTS
from milimo_shapes.text_training import TextModel, VideoTextEncoder, facts_of, load_tokenizer
from milimo_shapes.trained_parts import load_part

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")


def test_facts_are_told_apart() -> None:
    random = np.random.default_rng(0)
    scenes = [random_scene(random) for _ in range(200)]
    facts = np.array([facts_of(scene, moving=True) for scene in scenes])
    assert (facts.max(axis=0) == [5, 3, 1, 6, 6, 4, 2, 5, 3, 4]).all()
    assert (facts.min(axis=0) == 0).all()
    pictures = np.array([facts_of(scene, moving=False) for scene in scenes])
    assert set(pictures[:, 3]) == {list(Motion).index(Motion.STILL)}
    assert (np.delete(pictures, 3, axis=1) == np.delete(facts, 3, axis=1)).all()


def test_it_learns(tmp_path: Path) -> None:
    component = VideoTextEncoder(tokenizer=load_tokenizer())
    torch.manual_seed(0)
    model = component.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(4):
        loss = component.losses(model, 0, 1, _CPU)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    component.save(model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"text_encoder", "connectors"}


@pytest.mark.parametrize("ways", [("moves left", "drifts to the left"), ("bounces", "hops")])
def test_the_shipped_one_hears_every_word(ways: tuple[str, str]) -> None:
    prepare_torchvision()
    model, tokenizer = TextModel(), load_tokenizer()
    for name, part in model.named_children():
        load_part(part, WEIGHTS / VIDEO / name)
    model.eval()
    with torch.no_grad():
        figures = VideoTextEncoder(tokenizer=tokenizer).evaluate(model, _CPU, WEIGHTS)
        texts = [f"a red circle {way} on a teal background" for way in (*ways, "grows")]
        embeddings, _ = embed_captions(texts, tokenizer, model.text_encoder, model.connectors, _CPU)
    assert {name for name, share in figures.items() if share < 0.97} <= {"size", "second size"}
    same, other = (float((embeddings[0, 0] - embeddings[index, 0]).norm()) for index in (1, 2))
    # Another movement is one of ten facts, at right angles: √(2 · 96 / 10) away.
    assert same < 1.0
    assert other == pytest.approx((2 * 96 / 10) ** 0.5, rel=0.15)
