"""``python -m cprlib.report.html RUN``."""

import sys

from cprlib.report.html.report import main

sys.exit(main())
