"""What the pages show, from objects and values. Pure: no page, no cluster.

Everything here is a plain document (dicts, lists, texts, numbers): it is masked as a whole before a page shows it.
Times are ISO 8601 or None; lengths are whole seconds.
"""
