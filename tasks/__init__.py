"""What is held fixed: data, loss, metrics, target and budget."""
