"""What is asked for and what was done: sources, stage settings, recipes, records.  No torch here."""
