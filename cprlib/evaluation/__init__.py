"""Evaluation of representations: features of whole videos, retrieval, classification, mining quality."""
