"""Each change of the database's schema is a module; their order is their number."""
