-- The requests of varied.lua, at random times, as from callers that know nothing of each other. One more argument than
-- varied.lua: how many requests a second each thread sends.
-- Latency is counted from when a request was due: while a server stalls, the requests that wait to be sent count too.
-- Each request carries that time in a header, which the service returns.

dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "varied.lua")
local varied = { setup = setup, init = init, request = request }
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, microseconds; } time_of_day; int gettimeofday(time_of_day *, void *);")
local clock, threads = ffi.new("time_of_day"), {}

-- Milliseconds, by the clock of wrk's timers.
local function now()
  ffi.C.gettimeofday(clock, nil)
  return tonumber(clock.seconds) * 1000 + tonumber(clock.microseconds) / 1000
end

function setup(thread)
  varied.setup(thread)
  table.insert(threads, thread)
end

function init(args)
  varied.init(args)
  interval, counted, waiting = 1000 / tonumber(args[5]), {}, {}
end

-- A connection that is free takes the next time of the thread's, which may have passed.
function delay()
  due = (due or now()) - interval * math.log(1 - math.random())
  table.insert(waiting, due)
  return math.max(0, math.floor(due) - math.floor(now()))
end

-- wrk's timers know whole milliseconds, so a request may leave a little before it is due.
function request()
  local from = math.min(table.remove(waiting, 1) or now(), now())
  return (varied.request():gsub("\r\n", string.format("\r\nX-Due: %.3f\r\n", from), 1))
end

function response(status, headers)
  local from = tonumber(headers["x-due"])
  if from then table.insert(counted, now() - from) end
end

function done()
  local all = {}
  for _, thread in ipairs(threads) do
    for _, milliseconds in ipairs(thread:get("counted")) do table.insert(all, milliseconds) end
  end
  table.sort(all)
  print("Counted from when they were due: " .. #all)
  for _, percent in ipairs({ 50, 90, 99 }) do
    print(string.format("%d%% %.3fms", percent, all[math.ceil(#all * percent / 100)] or 0))
  end
end
