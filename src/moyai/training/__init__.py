"""One training loop; an objective gives batches, loss and metrics."""
