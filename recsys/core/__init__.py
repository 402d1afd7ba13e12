"""What every layer uses: ids, ragged lists, files, progress. Nothing here imports torch at module level."""
