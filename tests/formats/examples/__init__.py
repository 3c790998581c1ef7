"""Files of every format that the contract is run on: one module a format, named as the format's, with EXAMPLES in it."""
