"""This process and those that it starts: its rank, how a child is started and talked to, and what ends each of them."""
