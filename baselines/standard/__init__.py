"""What people train with today."""
