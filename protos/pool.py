"""The descriptor pool of our own messages.

tritonclient and kserve register a package `inference` of their own in protobuf's default pool, and
a name can be there once only. Every generated module here registers in this pool instead, so all
can be imported into one process.
"""

from google.protobuf import descriptor_pool

POOL = descriptor_pool.DescriptorPool()
