"""Explorers for JupyterLab."""
