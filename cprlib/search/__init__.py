"""Find videos like this one: an index of a folder, and queries to it."""

from cprlib.search.index import Index, open_index
from cprlib.search.query import search
from cprlib.search.update import update_index

__all__ = ["Index", "open_index", "search", "update_index"]
