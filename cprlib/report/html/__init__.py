"""A run as one HTML page, and an index of all runs: ``python -m cprlib.report.html RUN``."""
