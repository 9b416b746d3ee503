"""Usage events pushed to tenants: webhooks, signed, at least once, in order."""
