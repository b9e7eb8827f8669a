"""The figures of a report as Vega-Lite specifications, a file a kind of figure.

Colours are CSS variables of the page, so that dark, light and printed pages have colours of their own; each colour goes
with a shape or a dash. Every row has ``w``, the id of what it is of, by which the page filters.
https://vega.github.io/vega-lite/docs/
"""
