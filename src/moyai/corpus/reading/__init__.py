"""Reading files and data sets: rows, documents, and what is done about those that are broken."""
