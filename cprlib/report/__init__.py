"""What a run found: its tables, figures, explorers in JupyterLab, and its page in HTML.

Imports go one way: names, run -> tables -> figures -> explorers, html.
"""
