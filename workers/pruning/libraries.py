"""Optional libraries that transformers uses where they are installed."""

import functools
import importlib
import importlib.util
import sys

OPTIONAL = ("torchvision", "timm")


@functools.cache
def importable() -> tuple[str, ...]:
    """Those that import.

    One that is installed and does not import is hidden from transformers, which would choose it
    and fail where it has another way: a build of torchvision for CUDA beside one of torch for CPUs
    ends in `operator torchvision::nms does not exist`.
    """
    found = []
    for name in OPTIONAL:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 (whatever a broken build raises)
            for part in [each for each in sys.modules if each.partition(".")[0] == name]:
                del sys.modules[part]
            sys.modules[name] = None  # type: ignore[assignment]  # `import` and `find_spec` say: none
        else:
            found.append(name)
    return tuple(found)
