"""Statistics of built documents: counts, distributions, the funnel of drops, and pictures of them."""
