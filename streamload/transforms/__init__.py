"""What happens to a record after it is read and before it is in its batch."""
