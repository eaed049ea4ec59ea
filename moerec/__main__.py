"""`python -m moerec` is the `moerec` command."""

import sys

from moerec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
