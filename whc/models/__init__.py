"""Networks, assembled from plug-ins: colour space -> backbone -> head, under a sequence model."""
