"""People's names and traces: pseudonyms on entry, and forgetting in every place that holds something of a person."""
