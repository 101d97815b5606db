"""``python -m volseg.cli``: the same as ``volseg``."""

from volseg.cli.app import main

main()
