"""`milimo models pull` and `add-lora` against a server that answers like the hub: nothing of it leaves this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from milimo_deploy.known_models import FAMILY, KNOWN_MODELS
from milimo_deploy.model_pull import add_lora, find_lora_source
from milimo_deploy.model_repository import PullFailed, RemoteFile, missing_bytes, require_room
from milimo_runtime.registry import Registry
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 60.0
_spec = util.spec_from_file_location("milimo_test_hub", Path(__file__).with_name("hub.py"))
assert _spec is not None
assert _spec.loader is not None
hub_module = util.module_from_spec(_spec)
sys.modules[_spec.name] = hub_module
_spec.loader.exec_module(hub_module)

LTX, GEMMA = "Lightricks/LTX-2", "google/gemma-3-12b-it-qat-q4_0-unquantized"
CHECKPOINT = "ltx-2-19b-distilled.safetensors"


# What huggingface_hub writes at once: a connection that is cut loses less than that.
BLOCK = 10 * 1024**2


def content(name: str, size: int = 3_000_000) -> bytes:
    return np.random.default_rng(sum(name.encode())).bytes(size)


@pytest.fixture
def hub() -> Iterator[Any]:
    names = (CHECKPOINT, "ltx-2-spatial-upscaler-x2-1.0.safetensors", "ltx-2-temporal-upscaler-x2-1.0.safetensors")
    repos = {
        LTX: hub_module.Repo(
            {**{name: content(name, 2 * BLOCK + 1000) for name in names}, "README.md": b"#"}, license_name="ltx-terms"
        ),
        GEMMA: hub_module.Repo({"config.json": b"{}", "model.safetensors": content("gemma"), "x/y.json": b"1"}),
    }
    with hub_module.open_hub(repos) as opened:
        yield opened


@pytest.fixture
def milimo(hub: Any, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command with the hub as its endpoint."""

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MILIMO_", "HF_", "HUGGING"))}
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "MILIMO_HOME": str(tmp_path / "home")}
        told["MILIMO_MODEL_FAMILY"] = "tiny"
        return subprocess.Popen(
            [sys.executable, "-m", "milimo.cli", "models", *map(str, arguments)],
            env={**clean, **told, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    out, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, told + out
    return told


def test_the_licence_comes_first(hub: Any, milimo: Callable[..., Any], tmp_path: Path) -> None:
    told = ended(milimo("pull", "ltx-2"), 5)
    assert "ltx-terms" in told
    assert "--accept-license" in told
    assert not {method for method, _, _ in hub.asked} & {"HEAD", "GET"}
    assert not (tmp_path / "home").exists()


def test_a_pull_goes_on_where_it_was_cut(hub: Any, milimo: Callable[..., Any], tmp_path: Path) -> None:
    """Once the connection is cut, and the command goes on by itself; once the command is killed, and started again."""
    upscaler = "ltx-2-spatial-upscaler-x2-1.0.safetensors"
    hub.cut[CHECKPOINT], hub.stall[upscaler] = BLOCK + 5_000, BLOCK + 7_000
    first = milimo("pull", "ltx-2", "--accept-license")
    assert hub.stalled.wait(PATIENCE_S)
    models, root = tmp_path / "home/models", tmp_path / f"home/models/{FAMILY}/ltx-2"
    partial = root / "models/upscalers"
    while not any(path.stat().st_size for path in partial.glob("*.partial")):
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.communicate()
    hub.go.set()
    assert hub.fetched(CHECKPOINT) == [None, f"bytes={BLOCK}-"]
    (begun,) = [path.stat().st_size for path in partial.glob("*.partial")]
    assert 0 < begun <= BLOCK
    # Until all of it is there, the registry does not know the model.
    assert not Registry(models, FAMILY).models()

    told = ended(milimo("pull", "ltx-2", "--accept-license"))
    assert f"{upscaler}: goes on after" in told
    assert hub.fetched(upscaler) == [None, f"bytes={begun}-"]
    assert len(hub.fetched(CHECKPOINT)) == 2, "what is whole is not fetched again"
    model = Registry(models, FAMILY).require("ltx-2")
    assert {file.path for file in model.manifest.files} == {
        f"models/checkpoints/{CHECKPOINT}",
        f"models/upscalers/{upscaler}",
        "models/upscalers/ltx-2-temporal-upscaler-x2-1.0.safetensors",
        "models/text_encoders/gemma3/config.json",
        "models/text_encoders/gemma3/model.safetensors",
    }
    assert (root / f"models/checkpoints/{CHECKPOINT}").read_bytes() == hub.repos[LTX].files[CHECKPOINT]
    assert "ltx-terms" in model.manifest.license
    assert (model.manifest.purpose, model.manifest.checkpoint) == ("video", "distilled")
    assert list(root.rglob("*.partial*")) == []

    ended(milimo("verify", "--family", FAMILY, "--hashes"))
    weights = root / "models/text_encoders/gemma3/model.safetensors"
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    ended(milimo("verify", "--family", FAMILY))
    assert "milimo models pull ltx-2" in ended(milimo("verify", "--family", FAMILY, "--hashes"), 1)
    # And that gets the one that is damaged, alone.
    fetched = len(hub.asked)
    ended(milimo("pull", "ltx-2", "--accept-license"))
    assert [file for method, file, _ in hub.asked[fetched:] if method == "GET"] == ["model.safetensors"]
    ended(milimo("verify", "--family", FAMILY, "--hashes"))
    assert "move" in ended(milimo("pull", "ltx-2-dev", "--accept-license"), 1)


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda repos: repos[GEMMA].__setattr__("gated", "manual"), "HF_TOKEN"),
        (lambda repos: repos.pop(GEMMA), "is not there"),
        (lambda repos: repos[LTX].files.pop(CHECKPOINT), f"has no file {CHECKPOINT}"),
        (lambda repos: repos[LTX].told.update({CHECKPOINT: content("other", 2 * BLOCK + 1000)}), "another content"),
        (lambda repos: repos[GEMMA].files.update({"../../evil.json": b"1"}), None),
    ],
    ids=["gated", "away", "renamed", "damaged", "outside"],
)
def test_what_cannot_be_had_is_told_in_a_line(
    hub: Any, milimo: Callable[..., Any], tmp_path: Path, break_it: Callable[[Any], None], named: str | None
) -> None:
    break_it(hub.repos)
    if named is None:
        ended(milimo("pull", "ltx-2", "--accept-license"))
        assert not list(tmp_path.rglob("evil.json"))
        return
    told = ended(milimo("pull", "ltx-2", "--accept-license"), 1)
    assert named in told.strip().splitlines()[-1]
    assert told.strip().splitlines()[-1].startswith("error: ")
    assert not Registry(tmp_path / "home/models", FAMILY).models()
    assert not list((tmp_path / "home").rglob(CHECKPOINT)) or named == "HF_TOKEN"
    if named == "HF_TOKEN":
        ended(milimo("pull", "ltx-2", "--accept-license", HF_TOKEN="a-token"))


def test_nobody_answers(milimo: Callable[..., Any]) -> None:
    told = ended(milimo("pull", "sam-3", "--accept-license", HF_ENDPOINT="http://127.0.0.1:1"), 1)
    assert "facebook/sam3" in told
    assert "Traceback" not in told


def remote(size: int) -> RemoteFile:
    return RemoteFile(repo="a/b", commit="c", name="w", path="w", bytes=size, sha256="0" * 64, blob="")


def test_the_disk_is_looked_at_first(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(PullFailed, match="GB free"):
        require_room(tmp_path / "models", [remote(free)])
    require_room(tmp_path / "models", [remote(1000)])
    # What is there already needs no room.
    (tmp_path / remote(5000).partial).write_bytes(b"x" * 2000)
    assert missing_bytes(tmp_path, [remote(5000)]) == 3000


def lora(path: Path, **metadata: str) -> Path:
    factors = {
        "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": np.zeros((2, 8), np.float32),
        "transformer.transformer_blocks.0.attn1.to_q.lora_B.weight": np.zeros((8, 2), np.float32),
    }
    save_file(factors, path, metadata=metadata)
    return path


def test_loras_join_the_registry(hub: Any, milimo: Callable[..., Any], tmp_path: Path) -> None:
    style = lora(tmp_path / "style.safetensors")
    hub.repos["some/loras"] = hub_module.Repo(
        {"pose.safetensors": lora(tmp_path / "p.safetensors", reference_downscale_factor="2").read_bytes()}
    )
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(style.read_bytes()[:-10])
    other = tmp_path / "other.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, other)

    ended(milimo("add-lora", "style", style))
    assert "--accept-license" in ended(milimo("add-lora", "pose", "some/loras:pose.safetensors"), 5)
    ended(milimo("add-lora", "pose", "some/loras:pose.safetensors", "--accept-license"))
    models_dir = tmp_path / "home/models"
    for name, source, words in (
        ("bad", damaged, "cut off"),
        ("bad", other, "holds no LoRA"),
        ("style", style, "--replace"),
        ("../bad", style, "no name"),
        ("bad", tmp_path / "none.safetensors", "no file"),
    ):
        with pytest.raises(PullFailed, match=words):
            add_lora(
                models_dir, "tiny", name, find_lora_source(str(source)), in_context=False, replace=False, note=print
            )
    assert not list((models_dir / ".incoming").rglob("*.safetensors"))
    ended(milimo("add-lora", "style", style, "--replace"))
    models = {model.manifest.name: model for model in Registry(models_dir, "tiny").models()}
    assert {name: model.manifest.purpose for name, model in models.items()} == {"style": "lora", "pose": "ic_lora"}
    for model in models.values():
        model.require_complete()


def test_known_models_install_under_the_names_that_services_load() -> None:
    assert {known.installs_as for known in KNOWN_MODELS.values()} == {"ltx-2", "flux-2", "sam-3"}
    for known in KNOWN_MODELS.values():
        assert known.sources
        assert known.license
