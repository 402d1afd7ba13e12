"""The page at ``/``, to try a server by hand."""
