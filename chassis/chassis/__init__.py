"""What every service of the suite needs and no service owns."""

import os

# gRPC readies itself at each fork for a child that goes on calling. Ours become other programs at once, or are forked before gRPC
# is used; beside calls under way one child in ten died of it. Read when gRPC begins, so this comes before.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
