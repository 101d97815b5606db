"""``python -m benchmarks NAME [options]`` runs one benchmark; ``python -m benchmarks`` lists them."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

# what others use, or run: chaos has the doors of chaos_train
FRAME = {"__main__", "chaos_train", "frame", "fuzzing", "plain_monai"}


def main(argv: list[str]) -> int:
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in FRAME)
    if not argv or argv[0] not in names:
        for name in names:
            doc = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
            print(f"{name:12} {doc.strip().splitlines()[0] if doc.strip() else ''}")
        return 0 if not argv else 2
    return int(importlib.import_module(f"benchmarks.{argv[0]}").run(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
