"""Variants: heads that tenants fitted, versioned, signed, priced, rolled out and back.

``models``   what a variant, a version and a route are
``rules``    pure decisions: names, routing, rollout, publishing, retiring
``canary``   pure verdict on a canary from its tallies
``signing``  the platform's Ed25519 key and the facts that it signs
``store``    all of it in the database; ``directory`` is the gateways' memory of it
"""
