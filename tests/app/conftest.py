"""What the page's tests upscale with."""

from tests.inference.conftest import tiny_weights  # noqa: F401 (a fixture)
