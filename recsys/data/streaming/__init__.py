"""From files to a store in bounded memory: pieces of files, ids merged piece by piece, events sorted by users on disk."""
