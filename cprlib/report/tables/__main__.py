"""``python -m cprlib.report.tables RUN [RUN ...]``."""

from cprlib.report.tables.comparison import main

main()
