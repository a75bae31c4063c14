"""Generates everything that comes from the contract: `make protos`.

The chain needs no network: descriptors of protovalidate come out of its wheel, those of google.api out of
googleapis-common-protos. One image (a descriptor set with its imports) then serves buf, protoc-gen-es and Envoy.

    python protos/generate.py            writes the Python and TypeScript stubs and the descriptor image
    python protos/generate.py --check    writes nothing; exits 1 when what is committed differs
    python protos/generate.py --lint     buf lint, and buf breaking against the branch main when there is one
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PYTHON = ROOT / "clients/python"
TYPESCRIPT = ROOT / "clients/typescript"
IMAGE = ROOT / "gateway/milimo_gateway/descriptors.binpb"
# Imports that the Python stubs need and no wheel brings.
VALIDATE = "buf/validate/validate.proto"
# The details of errors travel as Any: nothing imports their types, but Envoy needs them to write errors as JSON, and
# the TypeScript client to read them.
ERROR_DETAILS = "google/rpc/error_details.proto"


def sources() -> list[str]:
    """The project's own proto files, as protoc names them."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("milimo/**/*.proto"))


def write_validate_descriptors(path: Path) -> None:
    """Writes the descriptors of protovalidate's options, and what they import, as a descriptor set."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    path.write_bytes(files.SerializeToString())


def protoc(*arguments: str) -> None:
    """Runs the compiler that grpcio-tools carries."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def buf(*arguments: str, cwd: Path = PROTOS) -> subprocess.CompletedProcess[bytes]:
    """Runs buf from the same environment as this script."""
    return subprocess.run([str(Path(sys.executable).parent / "buf"), *arguments], cwd=cwd, check=False)


def build_image(work: Path) -> Path:
    """Compiles the contract into one descriptor set with its imports and its comments."""
    validate = work / "validate.binpb"
    image = work / "image.binpb"
    write_validate_descriptors(validate)
    site = str(Path(str(resources.files("google") / "api")).parent.parent)
    protoc(
        f"-I{PROTOS}",
        f"-I{site}",
        f"--descriptor_set_in={validate}",
        "--include_imports",
        "--include_source_info",
        f"-o{image}",
        *sources(),
        ERROR_DETAILS,
    )
    return image


def without_comments(image: Path) -> bytes:
    """The image as the gateway ships it: comments make up two thirds of it and Envoy reads none."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    for file in files.file:
        file.ClearField("source_code_info")
    return files.SerializeToString(deterministic=True)


def generate_python(image: Path, out: Path) -> None:
    """Messages with .pyi files, gRPC stubs with types, and the options of protovalidate that they import."""
    out.mkdir(parents=True, exist_ok=True)
    protoc(
        f"--descriptor_set_in={image}",
        f"--python_out={out}",
        f"--mypy_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out={out}",
        *sources(),
    )
    protoc(f"--descriptor_set_in={image}", f"--python_out={out}", f"--mypy_out={out}", VALIDATE)
    # A proto without a service leaves an empty gRPC module behind.
    for stub in out.glob("milimo/v1/*_pb2_grpc.py"):
        if "class " not in stub.read_text(encoding="utf-8"):
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)
    for package in ("buf", "buf/validate", "milimo/v1"):
        (out / package / "__init__.py").touch()


def generate_typescript(image: Path, out: Path) -> None:
    """Messages and service descriptors for connect, by protoc-gen-es."""
    plugin = TYPESCRIPT / "node_modules/.bin/protoc-gen-es"
    if not plugin.exists():
        raise SystemExit("protoc-gen-es is missing: run `npm ci` in clients/typescript first (make protos does)")
    template = {
        "version": "v2",
        "inputs": [{"binary_image": str(image), "paths": ["milimo", ERROR_DETAILS]}],
        "plugins": [
            {
                "local": str(plugin),
                "out": str(out),
                "include_imports": True,
                "opt": ["target=ts", "import_extension=js"],
            }
        ],
    }
    if buf("generate", "--template", json.dumps(template)).returncode:
        raise SystemExit("buf generate failed")


def generate(work: Path) -> dict[Path, Path]:
    """Generates everything below `work`. Returns where each tree or file belongs in the repository."""
    image = build_image(work)
    (work / IMAGE.name).write_bytes(without_comments(image))
    generate_python(image, work / "python")
    generate_typescript(image, work / "typescript")
    return {
        work / "python/milimo/v1": PYTHON / "milimo/v1",
        work / "python/buf": PYTHON / "buf",
        work / "typescript": TYPESCRIPT / "src/gen",
        work / IMAGE.name: IMAGE,
    }


def differences(new: Path, old: Path) -> list[str]:
    """The files that differ between two trees or two files, generated ones alone."""
    if new.is_file():
        same = old.is_file() and filecmp.cmp(new, old, shallow=False)
        return [] if same else [str(old.relative_to(ROOT))]
    names = {path.relative_to(base) for base in (new, old) for path in base.rglob("*") if path.is_file()}
    names = {name for name in names if "__pycache__" not in name.parts}
    return sorted(
        str((old / name).relative_to(ROOT))
        for name in names
        if not ((new / name).is_file() and (old / name).is_file() and filecmp.cmp(new / name, old / name, False))
    )


def install(new: Path, old: Path) -> None:
    """Replaces a tree or a file of the repository by a newly generated one."""
    if new.is_file():
        shutil.copyfile(new, old)
        return
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(new, old)


def lint(work: Path) -> int:
    """Runs buf lint, and buf breaking against the image that main holds."""
    image = build_image(work)
    status = buf("lint", str(image), "--path", "milimo", "--config", "buf.yaml").returncode
    before = subprocess.run(
        ["git", "show", f"main:{IMAGE.relative_to(ROOT).as_posix()}"], cwd=ROOT, capture_output=True, check=False
    )
    if before.returncode == 0:
        old = work / "old.binpb"
        old.write_bytes(before.stdout)
        status |= buf("breaking", str(image), "--against", str(old), "--path", "milimo").returncode
    return status


def main() -> int:
    """Runs one of the three modes; the exit status is 1 when something is stale or fails the linter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="only compare with what is committed")
    mode.add_argument("--lint", action="store_true", help="only lint, and look for breaking changes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.lint:
            return 1 if lint(work) else 0
        trees = generate(work)
        if not arguments.check:
            for new, old in trees.items():
                install(new, old)
            return 0
        stale = [name for new, old in trees.items() for name in differences(new, old)]
        for name in stale:
            sys.stderr.write(f"stale: {name} (run `make protos` and commit)\n")
        return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
