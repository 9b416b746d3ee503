"""A thousand variants on one trunk: what they cost beside one.

python -m xingyue_benchmarks.variants engine       in this process, heads in a real S3 server
python -m xingyue_benchmarks.variants platform     through HTTP, on a platform of its own
python -m xingyue_benchmarks.variants multiplexed  the peer: plain Ray Serve, a model a variant
"""
