"""How long shards stand still when their owner dies, sleeps, is cut off, or leaves.

Real processes under a steady load. The log's own rows say who owns a shard,
under which epoch, and how far it is; they are read every few milliseconds.
"""
