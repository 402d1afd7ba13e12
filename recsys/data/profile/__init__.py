"""A look at a log: its sizes, long tail, histories, time, ties, splits and catalogue, as figures and as one HTML page."""
