"""Who a call comes from, whether they signed it, and whether IAM lets them make it."""
