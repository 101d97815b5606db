"""``volseg``, and ``python -m volseg.cli``, which is the same."""

from __future__ import annotations

import sys

from volseg.cli.interruption import interruptible


def main() -> None:
    """Run the command line; Ctrl-C leaves it with 130, from its first import on."""
    try:
        with interruptible():
            from volseg.cli.app import main as run

            run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped; files that are there are whole\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
