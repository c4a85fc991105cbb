"""Running a checkpoint one decoder layer at a time, straight from its files."""
