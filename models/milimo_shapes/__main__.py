"""Trains the shapes family and puts it together.

    python -m milimo_shapes train COMPONENT --out RUNS/COMPONENT --minutes N --seed S
    python -m milimo_shapes cache KIND --autoencoder RUNS/video-autoencoder/weights --out RUNS/latents
    python -m milimo_shapes assemble --runs RUNS --out MODELS/shapes
    python -m milimo_shapes measure-judge

A training goes on with what is in its folder; on CUDA when there is one, else on the CPU. The parts that learn on
latents need a cache.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from milimo_shapes import commands


def main() -> int:
    """Runs one of the commands."""
    parser = argparse.ArgumentParser(
        prog="python -m milimo_shapes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    orders = parser.add_subparsers(dest="command", required=True)
    training = orders.add_parser("train", help="train a component, or go on with it")
    training.add_argument("component", choices=commands.COMPONENTS)
    training.add_argument("--out", type=Path, required=True, help="folder of the run")
    training.add_argument("--minutes", type=float, default=120.0, help="end after that time (default 120)")
    training.add_argument("--seed", type=int, default=0, help="of weights, scenes and noise (default 0)")
    training.add_argument("--steps", type=int, help="in place of the component's own number")
    training.add_argument("--latents", type=Path, help="folder of cached latents")
    training.set_defaults(run=commands.run_training)
    caching = orders.add_parser("cache", help="encode clips for the parts that learn on latents")
    caching.add_argument("kind", choices=commands.KINDS)
    caching.add_argument("--autoencoder", type=Path, required=True, help="the trained autoencoder's weights folder")
    caching.add_argument("--out", type=Path, required=True, help="folder of the cache")
    caching.add_argument("--clips", type=int, default=2048, help="how many (default 2048)")
    caching.add_argument("--minutes", type=float, default=120.0, help="end after that time (default 120)")
    caching.add_argument("--seed", type=int, default=0, help="of the scenes (default 0)")
    caching.set_defaults(run=commands.run_caching)
    assembling = orders.add_parser("assemble", help="write the checkpoint of trained parts")
    assembling.add_argument("--runs", type=Path, required=True, help="folder of the components' runs")
    assembling.add_argument("--out", type=Path, required=True, help="folder of the family")
    assembling.set_defaults(run=commands.run_assembling)
    measuring = orders.add_parser("measure-judge", help="the judge's own error on drawn scenes")
    measuring.add_argument("--scenes", type=int, default=300, help="pictures of each sort; a sixth as many clips")
    measuring.set_defaults(run=commands.run_measuring)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for line in arguments.run(arguments, device):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
