"""``python -m cprlib.report.html RUN``."""

from cprlib.report.html.report import main

raise SystemExit(main())
