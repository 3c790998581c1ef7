"""CIFAR-10 and CIFAR-100 as they are published: folders of binary batches, or of pickles, which can do nothing here but hold data."""
