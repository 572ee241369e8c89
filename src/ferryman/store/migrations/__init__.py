"""The steps from one version's tables to the next; `ferryman.store.migrate` runs them."""
