"""torchvision's operators, where its compiled library and the installed torch do not fit.

torchvision registers fake versions of `nms` and `qnms` when it is imported, which fails with "operator
torchvision::nms does not exist" when its compiled library could not be loaded (a CPU build of torch beside a
torchvision of another build). Declaring the two schemas first lets the import pass: transforms and the pure Python
`roi_align` then work, while a call of `nms` itself says that it has no implementation. diffusers and transformers
import torchvision wherever it is installed, so this comes before either.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# From torchvision/csrc/ops/nms.cpp and csrc/ops/quantized/cpu/qnms_kernel.cpp.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@cache
def prepare_torchvision() -> torch.library.Library | None:
    """Makes `import torchvision` possible; to be called before anything that imports it.

    Returns the library that holds the declarations (they last as long as it does: the cache keeps it), or `None` when
    torchvision is not installed or its compiled operators load as they are.
    """
    import torch

    if _compiled_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


def _compiled_operators_load() -> bool:
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for compiled in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            # What torchvision does itself on import; a second load of the same file changes nothing.
            torch.ops.load_library(str(compiled))
        except OSError:
            return False
        return True
    return False
