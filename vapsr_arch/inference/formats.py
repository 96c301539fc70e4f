"""The formats that pictures are read and written in, each with its suffix, and the suffixes that stand for them."""

FORMATS = {'png': '.png', 'jpeg': '.jpg', 'webp': '.webp', 'tiff': '.tif', 'bmp': '.bmp'}
SUFFIXES = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp', '.tif': 'tiff', '.tiff': 'tiff', '.bmp': 'bmp'}
