"""Figures and tables from the results of a run; each is a function of data, drawn statically."""
