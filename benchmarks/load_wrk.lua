-- wrk -s load_wrk.lua URL -- BODY_FILE HEADER VALUE [HEADER VALUE ...]
-- Posts the file's bytes, one request made once. Ends with one line of JSON, for load_wrk.py.

function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   for at = 2, #args, 2 do
      wrk.headers[args[at]] = args[at + 1]
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "status": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
