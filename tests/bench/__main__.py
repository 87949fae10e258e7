"""python -m tests.bench"""
import asyncio, json, sys, tempfile
from pathlib import Path
import uvloop
from tests.bench.measure import Laboratory
from tests.bench.stage import Company, Servers
from tests.bench.load import InFlight
from tests.bench.workload import Kind
import contextlib

async def run(servers, company, loads, seconds, rounds):
    await servers.prepare_floors()
    async with Laboratory(servers) as lab:
        lab.company = company
        for r in range(rounds):
            for w in loads:
                for subj, kind in (("2pc floor", Kind.TRANSFER),("saga floor, statements", Kind.TRIP),("saga floor, bulk", Kind.TRIP_BULK)):
                    if len(sys.argv)>1 and kind not in sys.argv[1].split(","): continue
                    f = await lab.floor(subj, in_flight=w, seconds=seconds)
                    o = await lab.ours(kind, InFlight(w), seconds=seconds)
                    for p in (f, o):
                        print(f"{p.subject:24} {w:4} {p.per_second:8.0f}/s p50 {p.p50_ms:6.1f} p99 {p.p99_ms:6.1f} others {p.others} msgs {p.messages:.1f}", {k: round(v) for k, v in p.cpu_us.items()}, flush=True)
                    print("ratio", round(o.per_second/f.per_second, 3), flush=True)
                    print(json.dumps({"ratios": {"2pc": {"value": o.per_second/f.per_second}}}))

def main():
    d = Path(tempfile.mkdtemp(prefix="twofold-bench-"))
    with Servers.start(d) as servers, Company(servers, d / "company", {}).at_work(1) as company:
        loads = [int(x) for x in sys.argv[2].split(",")] if len(sys.argv) > 2 else [16]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(servers, company, loads, 2.0, int(sys.argv[3]) if len(sys.argv)>3 else 1))
main()
