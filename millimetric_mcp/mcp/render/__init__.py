"""Rows as compact text for a model: a receipt, then a table of comma-separated lines. Pure.

Texts from visitors (URLs, referrers, properties, names) are escaped: they can't end their row
or look like a line of the receipt. If a text gets too long, whole rows are left out from the
end; a note counts them and says how to get them. Structured content has the same rows:
`present` and `present_event` clean its texts.
"""
