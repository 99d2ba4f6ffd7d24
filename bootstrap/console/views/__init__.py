"""What the pages show, computed from objects and values. Pure: no page, no cluster.

The answers are plain documents (dicts, lists, strings, numbers), which are masked as a whole before a page shows them.
Times are ISO 8601 strings, "" for none.
"""
