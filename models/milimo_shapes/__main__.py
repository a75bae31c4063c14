"""Trains the shapes family, puts it together, judges what it makes, and installs it.

    python -m milimo_shapes train ltx-2 --runs RUNS
    python -m milimo_shapes train flux-2 --runs RUNS
    python -m milimo_shapes assemble --runs RUNS
    python -m milimo_shapes evaluate --docs docs
    python -m milimo_shapes measure-judge
    python -m milimo_shapes install --models MODELS

A training goes on with what is in its folder; on CUDA when there is one, else on the CPU. The two models can be trained
side by side: with one thread each two cores are used best.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from milimo_shapes import commands
from milimo_shapes.shipped import WEIGHTS


def main() -> int:
    """Runs one of the commands."""
    parser = argparse.ArgumentParser(
        prog="python -m milimo_shapes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    orders = parser.add_subparsers(dest="command", required=True)
    training = orders.add_parser("train", help="train the components of a model in turn, or go on with them")
    training.add_argument("model", choices=commands.COMPONENTS)
    training.add_argument("--runs", type=Path, required=True, help="folder of the components' runs")
    training.add_argument("--minutes", type=float, default=240.0, help="end each after that time (default 240)")
    training.add_argument("--seed", type=int, default=0, help="of weights, scenes and noise (default 0)")
    training.add_argument("--steps", type=int, help="in place of each component's own number")
    training.add_argument("--clips", type=int, help="encoded of each kind, in place of the cache's own numbers")
    training.set_defaults(run=commands.run_training)
    assembling = orders.add_parser("assemble", help="write the family of trained parts")
    assembling.add_argument("--runs", type=Path, required=True, help="folder of the components' runs")
    assembling.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the family (default: the shipped)")
    assembling.set_defaults(run=commands.run_assembling)
    evaluating = orders.add_parser("evaluate", help="judge what the family makes, and write the report")
    evaluating.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the family (default: the shipped)")
    evaluating.add_argument("--docs", type=Path, required=True, help="folder of shapes.md and its pictures")
    evaluating.add_argument("--share", type=float, default=1.0, help="of the prompts (default 1)")
    evaluating.set_defaults(run=commands.run_evaluation)
    measuring = orders.add_parser("measure-judge", help="the judge's own error on drawn scenes")
    measuring.add_argument("--scenes", type=int, default=300, help="pictures of each sort; a sixth as many clips")
    measuring.set_defaults(run=commands.run_measuring)
    installing = orders.add_parser("install", help="put the shipped family where the services look for it")
    installing.add_argument("--models", type=Path, required=True, help="the models' directory")
    installing.set_defaults(run=commands.run_installing)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for line in arguments.run(arguments, device):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
