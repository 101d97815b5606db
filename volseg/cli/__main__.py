"""``volseg``, and ``python -m volseg.cli``, which is the same."""

from __future__ import annotations

import sys

from volseg.cli.interruption import interruptible


def main() -> None:
    """Run the command line; Ctrl-C leaves it with 130 and without a word, from its first import on."""
    try:
        with interruptible():
            from volseg.cli.app import main as run

            run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
