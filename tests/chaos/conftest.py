"""The one local Ray and the undisturbed chain, as the tests of the cluster have them."""

from tests.cluster.conftest import chain, inline, local_ray, settings  # noqa: F401  # fixtures
