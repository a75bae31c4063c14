"""Text from the video process: the command and the client, on the weights that videos are made with."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from milimo import Milimo, MilimoError
from milimo.v1 import arbiter_pb2, text_pb2
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from milimo_deploy.running import RunningMesh

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"action": {"type": "string"}, "shot_type": {"enum": ["wide", "medium", "close-up"]}},
        "required": ["action", "shot_type"],
        "additionalProperties": False,
    },
    "minItems": 1,
}


def test_the_command_writes_json_that_fits(mesh: RunningMesh, client: Milimo, tmp_path: Path) -> None:
    schema, image = tmp_path / "shots.json", tmp_path / "image.png"
    schema.write_text(json.dumps(SCHEMA))
    Image.linear_gradient("L").save(image)
    command = [sys.executable, "-m", "milimo.cli", "text", "A chase in the rain.", "--system", "Answer with shots."]
    options = ["--image", image, "--json-schema", schema, "--max-new-tokens", "60", "--seed", "4", "--json"]
    runs = [
        subprocess.run(
            [*command, *map(str, options), "--address", mesh.addresses["video"]], check=True, capture_output=True
        ).stdout
        for _ in range(2)
    ]
    answer = json.loads(runs[0])
    assert json.loads(runs[1]) == answer
    shots = json.loads(answer["text"])
    assert shots
    assert all(set(shot) == {"action", "shot_type"} for shot in shots)
    assert answer["new_tokens"] <= 60
    # One set of weights, under the lease that videos have.
    status = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status
    assert [lease.tenant for lease in status.leases].count("video") == 1


def test_a_schema_that_cannot_be_kept_is_named(mesh: RunningMesh) -> None:
    request = text_pb2.GenerateTextRequest(messages=[text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_USER, text="Hello.")])
    request.json_schema.update({"type": "array", "uniqueItems": True})
    with Milimo(mesh.addresses["video"]) as video, pytest.raises(MilimoError) as caught:
        video.texts.GenerateText(request)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert [violation.field for violation in caught.value.violations] == ["json_schema"]
    assert "uniqueItems" in caught.value.message
