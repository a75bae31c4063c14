"""Writes the tiny family: `python -m milimo_tiny --out DIR` makes DIR/tiny with a manifest for each model.

The architectures are the real ones, the weights small and random: results are noise by design. The same seed gives the
same files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from milimo_tiny.family import write_tiny


def main() -> int:
    """Writes what is missing and says what it did."""
    parser = argparse.ArgumentParser(
        prog="python -m milimo_tiny", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the models' directory")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")
    parser.add_argument("--force", action="store_true", help="write also what is there and whole")
    arguments = parser.parse_args()
    written = write_tiny(arguments.out, seed=arguments.seed, force=arguments.force)
    for name in written:
        sys.stdout.write(f"wrote {arguments.out / 'tiny' / name}\n")
    if not written:
        sys.stdout.write(f"all models of the tiny family are in {arguments.out / 'tiny'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
