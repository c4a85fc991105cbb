"""In which order and how often the documents of several sources come."""
