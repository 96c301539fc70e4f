"""What runs a network on images, and the kernels that stand in for its blocks."""
