"""Start or continue a training: ``python -m florence_demo.embedded --out runs/nano``."""

import sys

from florence_demo.embedded.command import main

if __name__ == "__main__":
    sys.exit(main())
