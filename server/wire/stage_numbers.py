"""The stages as tiers write them to each other."""

from collections.abc import Mapping

from protos import stage_pb2 as pb
from server.domain.stage import StageName

STAGE_NUMBERS: Mapping[StageName, pb.StageName] = {"pre": pb.PRE, "predict": pb.PREDICT, "post": pb.POST}
STAGE_NAMES: Mapping[int, StageName] = {number: name for name, number in STAGE_NUMBERS.items()}
