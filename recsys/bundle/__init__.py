"""One saved, hashed artefact."""
