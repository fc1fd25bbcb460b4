"""What is seen is what is tested here: figures are drawn."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def seen(figures_drawn: None) -> None:
    """For the tests of this folder."""
