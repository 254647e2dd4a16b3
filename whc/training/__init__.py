"""Training one network: the loop, augmentation on tensors, checkpoints."""
