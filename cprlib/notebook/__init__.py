"""What notebooks need: parameters, the strict runner, pages."""
