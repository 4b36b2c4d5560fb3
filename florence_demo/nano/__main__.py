"""Start or continue a training: ``python -m florence_demo.nano --out runs/nano``."""

import sys

from florence_demo.nano.command import main

if __name__ == "__main__":
    sys.exit(main())
