"""What a recipe will make and cost, from arithmetic alone; no torch here."""
