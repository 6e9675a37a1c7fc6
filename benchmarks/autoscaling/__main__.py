import asyncio, sys, tempfile, json
from pathlib import Path
from dataclasses import asdict
from benchmarks.autoscaling.rehearsal import Plan, rehearse
from benchmarks.autoscaling.recording import recorded
from benchmarks.autoscaling.pipelines import PIPELINES

name, speed, signal, out = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]
with tempfile.TemporaryDirectory() as d:
    j = asyncio.run(
        rehearse(PIPELINES[name], Plan(recording=recorded(), speed=speed, signal=signal), Path(d))
    )
Path(out).write_text(json.dumps(asdict(j)))
for t, looks in j.looks.items():
    print(
        t,
        [
            (round(l.at_s), l.replicas, round(sum(g or 0 for g in l.gauges) / max(1, len(l.gauges)), 2))
            for l in looks
        ],
    )
from collections import Counter

print(Counter(t.status for t in j.told))
