"""Every kind of value through every path, and every kind of page, chunk and shard through every order, to the byte.

Pairs are covered, not products: a suite of tests is given time. `STREAMLOAD_NET=large` in the environment asks for the
products, on more records; see `pairs.LARGE`.
"""
