-- Arguments after "--": a file with a token on each line, the number of threads.
-- Each request carries a token that no other request of the run carries; `done` tells whether they sufficed.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  requests, sent = {}, 0
  local line_number = 0
  for token in io.lines(args[1]) do
    if line_number % tonumber(args[2]) == number then
      wrk.headers["Authorization"] = "Bearer " .. token
      table.insert(requests, wrk.format())
    end
    line_number = line_number + 1
  end
  prepared = #requests
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % prepared + 1]
end

function done()
  local repeated = 0
  for _, thread in ipairs(threads) do
    repeated = repeated + math.max(0, thread:get("sent") - thread:get("prepared"))
  end
  print("Tokens sent twice: " .. repeated)
end
