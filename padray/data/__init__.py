"""Real data in, tensors out: sources, splits, whitening, augmentation.
Imports the settings, the machine and the store."""
