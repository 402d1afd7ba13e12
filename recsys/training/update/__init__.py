"""New events, users and items for a model that is trained: from one bundle to the next."""
