"""Find videos like this one: an index of a folder, and queries to it."""

from cprlib.search.index import Index, open_index
from cprlib.search.query import readable, search

__all__ = ["Index", "open_index", "readable", "search", "update_index"]


def __getattr__(name: str):
    """Import `update_index` only on use: a query with a file of the index needs no networks."""
    if name != "update_index":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cprlib.search.update import update_index

    return update_index
