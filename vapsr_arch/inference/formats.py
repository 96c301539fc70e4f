"""Formats of pictures that are read and written. Imports nothing, so that the command line can name them at once."""

FORMATS = {'png': '.png', 'jpeg': '.jpg', 'webp': '.webp', 'tiff': '.tif', 'bmp': '.bmp'}
SUFFIXES = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp', '.tif': 'tiff', '.tiff': 'tiff', '.bmp': 'bmp'}
