"""The HTML kit that every page is built from: a page that loads nothing, its plots and its tables."""
