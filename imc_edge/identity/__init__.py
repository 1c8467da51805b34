"""Who a request is from, and how that is authenticated."""
