"""Runs the tests of the TypeScript client against a mesh of its own: `make test-typescript`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from milimo_deploy.mesh import free_addresses, plan_mesh
from milimo_deploy.running import running_mesh

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    """The exit status of `npm test`."""
    with tempfile.TemporaryDirectory() as home:
        plan = plan_mesh(
            Path(home),
            free_addresses(),
            environment={"MILIMO_MODELS_DIR": os.environ["MILIMO_MODELS_DIR"], "MILIMO_MODEL_FAMILY": "tiny"},
        )
        with running_mesh(plan) as mesh:
            environment = {**os.environ, "MILIMO_URL": f"http://{mesh.address}"}
            folder = ROOT / "clients/typescript"
            return subprocess.run(["npm", "test"], cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
