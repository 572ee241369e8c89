"""The documents that Ferryman was asked to fulfil, sentence by sentence."""
