"""The command of the strict notebook runner: ``python -m cprlib.runner NOTEBOOK OUT -f params.yaml -p name value``."""

import sys

from cprlib.notebook.runner import main

if __name__ == "__main__":
    sys.exit(main())
