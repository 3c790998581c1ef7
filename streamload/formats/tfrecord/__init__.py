"""TFRecord files of tf.train.Example messages: gone through once, then read by the places of their values."""
