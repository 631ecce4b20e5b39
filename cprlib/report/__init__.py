"""The results of a run: tables, figures, explorers for JupyterLab, and a report in HTML.

Imports go one way: names, run -> tables -> figures -> explorers, html.
"""
